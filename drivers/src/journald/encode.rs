//! From a record to a datagram with Docker's fields.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::field::{put, put_number, put_time, sanitised};
use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::sink::{Encoded, Encoder, Record};

/// Fields that each record has of its own: an attribute of such a name gives way, as in Docker.
const OWN: [&str; 7] = [
    "SYSLOG_TIMESTAMP",
    "CONTAINER_LOG_EPOCH",
    "CONTAINER_LOG_ORDINAL",
    "CONTAINER_PARTIAL_ID",
    "CONTAINER_PARTIAL_ORDINAL",
    "CONTAINER_PARTIAL_LAST",
    "CONTAINER_PARTIAL_MESSAGE",
];

/// Makes datagrams of one container's records.
#[derive(Debug)]
pub(super) struct JournalEncoder {
    container: String,
    /// the fields that are the same for all records
    fields: Vec<u8>,
    /// the last record's epoch and its 64 digits
    epoch: Option<(u64, [u8; 64])>,
}

impl JournalEncoder {
    pub(super) fn new(
        selection: &AttrSelection,
        container: &ContainerFacts<'_>,
    ) -> Result<Self, TagError> {
        let short = container.id.get(..12).unwrap_or(container.id);
        let tag = match &selection.tag {
            None => short.to_owned(),
            Some(template) => {
                let extra = selection.extra(container);
                template.render(&container.to_value(&selection.config, &extra))?
            }
        };
        let name = container.name.strip_prefix('/').unwrap_or(container.name);
        let mut all: BTreeMap<String, String> = [
            ("CONTAINER_ID", short),
            ("CONTAINER_ID_FULL", container.id),
            ("CONTAINER_NAME", name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", container.image_name),
            ("SYSLOG_IDENTIFIER", &tag),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        all.extend(selection.extra_with(container, sanitised));
        let mut fields = Vec::new();
        for (name, value) in &all {
            // journald drops a field without a name.
            if !name.is_empty() && !OWN.contains(&name.as_str()) {
                put(&mut fields, name, value.as_bytes());
            }
        }
        Ok(Self {
            container: container.id.to_owned(),
            fields,
            epoch: None,
        })
    }

    /// 64 hex digits of container and epoch: Docker draws them at random at each start; these stay the same when a record is sent again.
    fn epoch(&mut self, epoch: u64) -> &[u8; 64] {
        let known = matches!(self.epoch, Some((known, _)) if known == epoch);
        if !known {
            let mut hash = Sha256::new();
            hash.update(self.container.as_bytes());
            hash.update(epoch.to_le_bytes());
            let mut digits = [0; 64];
            for (two, byte) in digits.chunks_exact_mut(2).zip(hash.finalize()) {
                two[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
                two[1] = b"0123456789abcdef"[usize::from(byte & 15)];
            }
            self.epoch = Some((epoch, digits));
        }
        &self.epoch.get_or_insert((epoch, [b'0'; 64])).1
    }
}

impl Encoder for JournalEncoder {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        put_number(out, "PRIORITY", record.stream.severity().into());
        put(out, "MESSAGE", record.line);
        out.extend_from_slice(&self.fields);
        put_time(out, record.time_ns);
        put(out, "CONTAINER_LOG_EPOCH", self.epoch(record.epoch));
        put_number(out, "CONTAINER_LOG_ORDINAL", record.seq);
        if let Some(partial) = record.partial {
            put(out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
            put_number(out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.into());
            let last: &[u8] = if partial.last { b"true" } else { b"false" };
            put(out, "CONTAINER_PARTIAL_LAST", last);
            if !partial.last {
                put(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        Encoded::Yes
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
