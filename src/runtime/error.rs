//! What can be wrong with a container's settings or with running it, in Docker's words where
//! clients or users look for them (source: Moby `daemon/`, API 1.43).

use std::io;
use std::path::PathBuf;

use crate::errors::{ApiError, ErrorKind};

/// A setting that cannot be honoured, or a failure while a container is prepared or run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("No command specified")]
    NoCommand,
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    #[error("uids and gids must be in range 0-2147483647")]
    IdRange,
    #[error("invalid {option}: unknown capability: \"{name}\"")]
    UnknownCapability { option: &'static str, name: String },
    #[error(
        "invalid {option}: capability not supported by your kernel or not available in the current environment: \"{name}\""
    )]
    UnavailableCapability { option: &'static str, name: String },
    #[error("invalid --security-opt {step}: \"{option}\"")]
    SecurityOpt { step: u8, option: String },
    #[error("decoding seccomp profile failed: {0}")]
    SeccompProfile(#[source] serde_json::Error),
    #[error("{what}: {value}")]
    InvalidMode { what: &'static str, value: String },
    #[error("invalid volume specification: '{0}'")]
    VolumeSpec(String),
    #[error(
        "invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": {cause}"
    )]
    VolumeSpecBecause {
        spec: String,
        kind: &'static str,
        cause: MountProblem,
    },
    #[error("invalid mode: {0}")]
    VolumeMode(String),
    #[error("invalid mount config for type \"{kind}\": {cause}")]
    Mount { kind: String, cause: MountProblem },
    #[error(
        "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: \"{}\", bind mount source: \"{source_path}\", propagation: \"{propagation}\"",
        root.display()
    )]
    AroundDataRoot {
        root: PathBuf,
        source_path: String,
        propagation: String,
    },
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    #[error("invalid port specification: \"{0}\"")]
    Port(String),
    #[error("{0}")]
    TmpfsTarget(MountProblem),
    #[error("volumes-from specification cannot be an empty string")]
    VolumesFromEmpty,
    #[error("path {} is mounted on {} but it is not a {wanted} mount", path.display(), on.display())]
    NotShared {
        path: PathBuf,
        on: PathBuf,
        wanted: &'static str,
    },
    #[error("cannot mount volume over existing file, file exists {}", .0.display())]
    VolumeOverFile(PathBuf),
    #[error("Duplicate mount point: {0}")]
    DuplicateMount(String),
    #[error("invalid tmpfs option [\"{0}\"]")]
    TmpfsOption(String),
    #[error("{what} is not built yet: {hint}")]
    NotBuilt { what: String, hint: &'static str },
    #[error("network {0} not found")]
    NetworkNotFound(String),
    #[error("{0}")]
    Resource(#[from] ResourceProblem),
    #[error("invalid ulimit: {0}")]
    UlimitName(String),
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder { soft: i64, hard: i64 },
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDir(String),
    #[error("Cannot mkdir: {0} is not a directory")]
    WorkingDirIsFile(String),
    #[error("bad format for add-host: \"{0}\"")]
    ExtraHost(String),
    #[error("invalid IP address in add-host: \"{0}\"")]
    ExtraHostAddress(String),
    #[error("invalid environment variable: {0}")]
    Environment(String),
    #[error("invalid device cgroup rule format: '{0}'")]
    DeviceRule(String),
    #[error("invalid device mode: {0}")]
    DeviceMode(String),
    #[error(
        "error gathering device information while adding custom device \"{path}\": {}",
        errno_text(source)
    )]
    Device { path: String, source: io::Error },
    #[error(
        "error gathering device information while adding custom device \"{0}\": not a device node"
    )]
    NotADevice(String),
    #[error("invalid Annotations: the empty string is not permitted as an annotation key")]
    EmptyAnnotation,
    #[error("cgroup \"{0}\" is not supported: use CgroupParent (--cgroup-parent)")]
    CgroupOfContainer(String),
    #[error("conflicting options: domainname and the UTS mode")]
    DomainnameWithHostUts,
    #[error("{0} cannot be changed by an update: remove the container and create it anew")]
    NotUpdatable(String),
    #[error("could not select device driver \"{driver}\" with capabilities: {capabilities}")]
    NoDeviceDriver {
        driver: String,
        capabilities: String,
    },
    #[error("{0}")]
    DeviceRequest(&'static str),
    #[error("CDI device injection failed: {0}")]
    Cdi(String),
    #[error("can't create 'AutoRemove' container with restart policy")]
    AutoRemoveRestart,
    #[error("{0}")]
    RestartPolicy(String),
    #[error("invalid isolation: \"{0}\" - linux only supports 'default'")]
    Isolation(String),
    #[error("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")]
    StorageOpt,
    #[error("exec: \"docker-init\": executable file not found in $PATH")]
    NoInit,
    /// Of a limit for a block device, with the words from which clients take an exit code.
    #[error("stat {path}: {}", errno_text(source))]
    BlkioDevice { path: String, source: io::Error },
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        limit: String,
        usage: String,
        peak: String,
    },
    #[error("{} is not a regular file or is larger than {limit} bytes", path.display())]
    BadFile { path: PathBuf, limit: u64 },
    #[error("{} is not valid UTF-8 and cannot be named in a specification", .0.display())]
    PathNotUtf8(PathBuf),
    #[error("conflicting options: hostname and the UTS mode")]
    HostnameWithHostUts,
    #[error("runtime {} not found", .0.display())]
    NoRuntime(PathBuf),
    #[error("run {} {verb}: {source}", path.display())]
    Exec {
        path: PathBuf,
        verb: &'static str,
        source: io::Error,
    },
    #[error("OCI runtime {verb} failed: {message}")]
    Verb {
        verb: &'static str,
        message: String,
        missing: bool,
    },
    #[error("state of {id} as the runtime tells it: {source}")]
    State {
        id: String,
        source: serde_json::Error,
    },
}

/// Why a mount is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MountProblem {
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    NotAbsolute(String),
    #[error("invalid specification: destination can't be '/'")]
    Root,
    #[error("field Target must not be empty")]
    NoTarget,
    #[error("field Source must not be empty")]
    NoSource,
    #[error("field {0} must not be specified")]
    Extra(&'static str),
    #[error("must not set ReadOnly mode when using anonymous volumes")]
    AnonymousReadOnly,
    #[error(
        "VolumeOptions.Subpath of the mount at {0} is of API 1.45 and not built, mount the whole volume"
    )]
    Subpath(String),
    #[error(
        "BindOptions.ReadOnlyForceRecursive needs ReadOnly and goes with neither NonRecursive, ReadOnlyNonRecursive nor a propagation other than rprivate"
    )]
    ForceRecursive,
    #[error("bind source path does not exist: {0}")]
    NoSuchSource(String),
    #[error("invalid propagation mode: {0}")]
    Propagation(String),
    #[error("mount type unknown")]
    Type,
}

/// Why a limit is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ResourceProblem {
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryMinimum,
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapAlone,
    #[error("Invalid value: {0}, valid memory swappiness range is 0-100")]
    Swappiness(i64),
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationMinimum,
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    #[error("shares: invalid argument")]
    SharesNegative(i64),
    #[error("the minimum allowed cpu-shares is 2")]
    SharesBelow,
    #[error("the maximum allowed cpu-shares is 262144")]
    SharesAbove,
    #[error("Conflicting options: Nano CPUs and CPU {0} cannot both be set")]
    NanoConflict(&'static str),
    #[error("Range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    NanoRange(usize),
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    Period,
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    Quota,
    #[error("Invalid value {value} for cpuset {what}: invalid format: {value}")]
    CpusetFormat { what: &'static str, value: String },
    #[error("Requested {what} are not available - requested {value}, available: {available}")]
    CpusetRange {
        what: &'static str,
        value: String,
        available: String,
    },
    #[error("Range of blkio weight is from 10 to 1000")]
    BlkioWeight,
    #[error("blkio device limit has no path or number: {0}")]
    BlkioDevice(String),
    #[error("Invalid value {0}, range for oom score adj is [-1000, 1000]")]
    OomScore(i64),
    #[error("SHM size can not be less than 0")]
    ShmSize,
    #[error("Your kernel does not support CPU real-time scheduler")]
    NoRealtime,
    #[error("cpu real-time runtime cannot be higher than cpu real-time period")]
    RealtimeAbovePeriod,
    #[error("Invalid QoS settings: linux does not support configuration of {0}")]
    WindowsIo(&'static str),
}

/// The system's error in the words of Docker's clients, which look for `no such file or directory`
/// and `permission denied` in lower case.
fn errno_text(error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(n) => nix::errno::Errno::from_raw(n).desc().to_owned(),
        None => error.to_string(),
    };
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

impl RuntimeError {
    /// Class of the error, hence the status of the answer.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownUser(_)
            | Self::UnknownGroup(_)
            | Self::IdRange
            | Self::Device { .. }
            | Self::NotADevice(_)
            | Self::WorkingDirIsFile(_)
            | Self::NoInit
            | Self::NoDeviceDriver { .. }
            | Self::Cdi(_)
            | Self::File { .. }
            | Self::BlkioDevice { .. }
            | Self::MemoryInUse { .. }
            | Self::NotShared { .. }
            | Self::VolumeOverFile(_)
            | Self::BadFile { .. }
            | Self::PathNotUtf8(_)
            | Self::NoRuntime(_)
            | Self::Exec { .. }
            | Self::State { .. } => ErrorKind::System,
            Self::Verb { missing: true, .. } | Self::NetworkNotFound(_) => ErrorKind::NotFound,
            Self::Verb { .. } => ErrorKind::System,
            _ => ErrorKind::Invalid,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
