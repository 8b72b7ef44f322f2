//! From outside only: a private daemon, the docker CLI, the API, kills, and what is on disk.
//!
//! `TAFFRAIL_TEST_ENGINE=dockerd` runs the cases that hold for both engines on Docker's own: the cases are tested by
//! that. `TAFFRAIL_BIN` names the programs under test.

mod harness;

mod activation;
mod bad_input;
mod cli_images;
mod cli_life;
mod cli_own;
mod cli_run;
mod cli_volumes;
mod commit;
mod compatibility;
mod completion;
mod copy;
mod delivery;
mod docker_py;
mod events;
mod exec;
mod explain;
mod extra_streams;
mod fields;
mod golden;
mod health;
mod inside;
mod joined;
mod kill_daemon;
mod kill_monitor;
mod last_words;
mod lifecycle;
mod links;
mod log_check;
mod logs_kept;
mod logs_read;
mod logs_several;
mod logs_volume;
mod long_lines;
mod memory;
mod metrics;
mod networks;
mod oom;
mod policy;
mod registry;
mod reload;
mod remote;
mod restart_daemon;
mod restart_policy;
mod rotation;
mod runtime_alone;
mod stats;
mod terminal;
mod volume_recovery;
mod volumes;
mod without_root;
