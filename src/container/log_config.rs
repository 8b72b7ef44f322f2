//! What a container's log settings mean; interim until the drivers are merged.
use super::Record;
use super::state::LogSettings;
use crate::api::types::LogConfig;
use crate::daemon::Settings;
use crate::errors::ApiError;

pub(super) fn resolve(
    config: &mut LogConfig,
    settings: &Settings,
    _warnings: &mut Vec<String>,
) -> Result<Option<LogSettings>, ApiError> {
    if config.kind.is_empty() {
        config.kind = settings.log_driver.clone();
    }
    if config.kind == "none" {
        return Ok(None);
    }
    Ok(Some(LogSettings {
        max_size: None,
        max_file: 1,
    }))
}
pub(super) fn attributes(_record: &Record) -> Result<Vec<u8>, String> {
    Ok(Vec::new())
}
