//! What compressing a file costs: `compress_speed FILE...`, each file cut as closed logs are.
//! Prints ratio and processor time of gzip -6 in one stream (as Docker does), of our gzip members
//! and of our zstd frames, and how fast both decode. Build with `--profile fast` or `--release`.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use taffrail_log::{Codec, compress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let megabytes = bytes.len() as f64 / 1e6;
        println!("{path}: {megabytes:.1} MB");
        let report = |name: &str, size: u64, took: Duration| {
            println!(
                "  {name}: ratio {:.2}, {:.0} MB/s",
                bytes.len() as f64 / size as f64,
                megabytes / took.as_secs_f64()
            );
        };
        let start = Instant::now();
        let level = flate2::Compression::new(6);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(&bytes)?;
        let packed = gzip.finish()?;
        report("gzip -6, one stream", packed.len() as u64, start.elapsed());
        let input = File::open(&path)?;
        for (name, codec) in [("gzip members", Codec::Gzip), ("zstd frames", Codec::Zstd)] {
            let mut output = tempfile::tempfile()?;
            let start = Instant::now();
            let done = compress(codec, &input, bytes.len() as u64, &output, &mut |_| true)?;
            let took = start.elapsed();
            let done = done.ok_or("stopped")?;
            report(name, done.compressed_bytes, took);
            std::io::Seek::rewind(&mut output)?;
            let mut packed = Vec::new();
            output.read_to_end(&mut packed)?;
            let start = Instant::now();
            let mut plain = Vec::with_capacity(bytes.len());
            match codec {
                Codec::Zstd => {
                    zstd::stream::read::Decoder::new(&packed[..])?.read_to_end(&mut plain)?
                }
                Codec::Gzip => {
                    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain)?
                }
            };
            report("  decoded", packed.len() as u64, start.elapsed());
            assert!(plain == bytes);
        }
    }
    Ok(())
}
