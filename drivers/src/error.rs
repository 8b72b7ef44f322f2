//! What can be wrong with a log driver and its options. The texts are Docker's where Docker has one.

use crate::template::TemplateError;

/// One thing wrong with a driver's name or an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No driver and no plugin has this name.
    #[error("error looking up logging plugin {name}: plugin {quoted} not found", quoted = crate::go::quote(name))]
    UnknownDriver {
        /// the name as given
        name: String,
    },
    /// Docker has the driver, this version of Taffrail does not.
    #[error(
        "log driver \"{name}\" is not built in this version of Taffrail; built are: {built}",
        built = crate::registry::built_names()
    )]
    NotBuilt {
        /// the driver
        name: String,
    },
    /// A list of drivers with an empty place.
    #[error(
        "log driver list {list:?} has an empty name: write driver names separated by single commas"
    )]
    EmptyDriverName {
        /// the list as given
        list: String,
    },
    /// A driver named twice.
    #[error("log driver list {list:?} names {name:?} more than once: name each driver once")]
    DuplicateDriver {
        /// the list as given
        list: String,
        /// the driver
        name: String,
    },
    /// `none` beside others.
    #[error(
        "log driver list {list:?} has \"none\" beside other drivers: use \"none\" alone or leave it out"
    )]
    NoneWithOthers {
        /// the list as given
        list: String,
    },
    /// An option that the driver does not have.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    UnknownOption {
        /// the driver
        driver: &'static str,
        /// the option as given
        option: String,
    },
    /// The same in the words of Docker's `local`.
    #[error("unknown log opt '{option}' for log driver {driver}")]
    UnknownOptionOf {
        /// the driver
        driver: &'static str,
        /// the option as given
        option: String,
    },
    /// The same in the words of Docker's gelf.
    #[error("unknown log opt \"{option}\" for {driver} log driver")]
    UnknownOptionQuoted {
        /// the driver
        driver: &'static str,
        /// the option as given
        option: String,
    },
    /// An option that none of several drivers has.
    #[error("unknown log opt '{option}' for log drivers {drivers}")]
    UnknownToAll {
        /// the option as given
        option: String,
        /// the drivers of the list
        drivers: String,
    },
    /// An option of the whole log with a driver's name before it.
    #[error(
        "log opt '{option}': {plain} is for the container's log as a whole, write it without a driver's name"
    )]
    CommonScoped {
        /// the option as given
        option: String,
        /// without the prefix
        plain: String,
    },
    /// A name behind a colon that cannot be.
    #[error(
        "log driver list {list:?}: {name:?} is no name of a sink: a driver that sends records elsewhere, then a colon and up to 32 of a-z, 0-9 and \"-\", for example syslog:audit"
    )]
    SinkName {
        /// the list as given
        list: String,
        /// the entry
        name: String,
    },
    /// Too many drivers.
    #[error("the log driver list has {count} drivers, at most {max} are allowed")]
    ManyDrivers {
        /// how many
        count: usize,
        /// how many may be
        max: usize,
    },
    /// A value that a driver does not take: Docker's text, and below it option, value and what is allowed. The value of a secret is not
    /// among what is shown.
    #[error("{text}\n  {option}={value:?}: allowed: {allowed}")]
    Driver {
        /// Docker's text, or ours where it has none
        text: String,
        /// the option
        option: &'static str,
        /// the value as given; `xxxx` of a secret
        value: String,
        /// what is allowed
        allowed: String,
    },
    /// A whole text that names option, value and what is allowed itself, or an option that is missing.
    #[error("{0}")]
    Text(String),
    /// `mode` is neither `blocking` nor `non-blocking`.
    #[error("logger: logging mode not supported: {value}")]
    Mode {
        /// the value as given
        value: String,
    },
    /// `max-buffer-size` without `mode=non-blocking`.
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferSizeMode,
    /// `max-buffer-size` is no size.
    #[error("error parsing option max-buffer-size: {source}")]
    BufferSize {
        /// what is wrong with it
        source: Box<OptionError>,
    },
    /// `cache-disabled` is no boolean.
    #[error("invalid value for option cache-disabled: {value}")]
    CacheDisabled {
        /// the value as given
        value: String,
    },
    /// No digit in a size, or a negative one.
    #[error("invalid size: '{value}'")]
    InvalidSize {
        /// the value as given
        value: String,
    },
    /// The unit of a size.
    #[error("invalid suffix: '{suffix}'")]
    InvalidSuffix {
        /// what follows the number
        suffix: String,
    },
    /// The number of a size, in the words of Go's `strconv`.
    #[error("{text}")]
    InvalidNumber {
        /// for example `strconv.ParseFloat: parsing "1.2.3": invalid syntax`
        text: String,
    },
    /// `max-file` is no number, in the words of Go's `strconv`.
    #[error("{text}")]
    MaxFileNumber {
        /// for example `strconv.Atoi: parsing "x": invalid syntax`
        text: String,
    },
    /// `compress` is no boolean, in the words of Go's `strconv`.
    #[error("{text}")]
    CompressValue {
        /// for example `strconv.ParseBool: parsing "x": invalid syntax`
        text: String,
    },
    /// `max-size=0`.
    #[error("max-size must be a positive number")]
    MaxSizeZero,
    /// `max-file` below 1.
    #[error("max-file cannot be less than 1")]
    MaxFileZero,
    /// `max-file` above what a rotation may rename.
    #[error("{option} cannot be more than {max}")]
    MaxFileLarge {
        /// `max-file` or `cache-max-file`
        option: &'static str,
        /// the most files allowed
        max: u32,
    },
    /// `compress=true` with nothing to compress.
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    Compress,
    /// A value that its option does not take.
    #[error("invalid value for {option}: {value}: {reason}")]
    Value {
        /// the option
        option: &'static str,
        /// the value as given
        value: String,
        /// what is wrong with it
        reason: String,
    },
    /// A number below 0.
    #[error("{option} must not be negative")]
    Negative {
        /// the option
        option: &'static str,
    },
    /// `compress` of `local` is no boolean.
    #[error("error reading {option} log option: {text}")]
    CompressBool {
        /// `compress` or `cache-compress`
        option: &'static str,
        /// in the words of Go's `strconv`
        text: String,
    },
    /// `compress` of `local` with one file.
    #[error("compression cannot be enabled when max file count is 1")]
    CompressOneFile,
    /// Two drivers that both are the log on the local disk.
    #[error(
        "log driver list {list:?} has two formats of the local log, \"json-file\" and \"local\": leave out one of them"
    )]
    TwoFormats {
        /// the list as given
        list: String,
    },
    /// A regular expression, in the words of Go's `regexp`.
    #[error("error parsing regexp: {reason}: `{pattern}`")]
    Regex {
        /// what is wrong with it
        reason: String,
        /// the expression as given
        pattern: String,
    },
    /// The tag template.
    #[error(transparent)]
    Tag(#[from] TemplateError),
}

/// Everything wrong with one container's (or the daemon's) log settings; at least one error. Shown one a line, as Go joins errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionErrors(pub(crate) Vec<OptionError>);

impl OptionErrors {
    /// The errors in the order Docker checks.
    pub fn iter(&self) -> impl Iterator<Item = &OptionError> {
        self.0.iter()
    }
}

impl From<OptionError> for OptionErrors {
    fn from(error: OptionError) -> Self {
        Self(vec![error])
    }
}

impl std::fmt::Display for OptionErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for OptionErrors {}
