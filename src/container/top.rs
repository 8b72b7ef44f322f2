//! `top`: the host's `ps` about the processes of a container.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use tokio::process::Command;

use super::exit::blocking;
use super::pause::is_restarting;
use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;

/// `ps` options when the client gives none.
const DEFAULT: &str = "-ef";

impl Daemon {
    /// Processes of a container as `ps` with these options shows them (docs: Engine API
    /// `ContainerTop`).
    ///
    /// # Errors
    /// 400 for options that hide the process ids, 409 if it does not run, 500 with the words of
    /// `ps`.
    pub(crate) async fn top(
        &self,
        container: &Arc<Container>,
        options: &str,
    ) -> Result<Value, ApiError> {
        let options = match options {
            "" => DEFAULT,
            given => given,
        };
        check(options)?;
        let record = container.record();
        match record.state.status {
            Status::Running | Status::Paused => {}
            Status::Restarting => return Err(is_restarting(&container.id)),
            _ => {
                return Err(ApiError::conflict(format!(
                    "container {} is not running",
                    container.id
                )));
            }
        }
        let group = self.cgroup_path(&record);
        let pids = blocking(move || runtime::cgroup_members(&runtime::cgroup_layout(), &group))
            .await
            .unwrap_or_default();
        let args: Vec<&str> = options.split(' ').collect();
        let list: Vec<String> = pids.iter().map(i32::to_string).collect();
        let list = format!("-q{}", list.join(","));
        let output = match ps(&args, Some(&list)).await {
            Ok(output) => output,
            // Some options (such as `f`) do not go together with `q`.
            Err(_) => ps(&args, None)
                .await
                .map_err(|text| ApiError::system(format!("ps: {text}")))?,
        };
        let top = parse(&output, &pids)?;
        self.container_event(container, "top", []);
        Ok(top)
    }
}

/// Another column may not be called PID: the processes are told by it.
fn check(options: &str) -> Result<(), ApiError> {
    let Ok(renamed) = Regex::new(r"\s+(\S*)=\s*(PID\S*)") else {
        return Ok(());
    };
    for found in renamed.captures_iter(options) {
        if &found[1] != "pid" {
            return Err(ApiError::invalid(format!(
                "specifying \"{}={}\" is not allowed",
                &found[1], &found[2]
            )));
        }
    }
    Ok(())
}

/// Output of `ps`, or the first line of its complaint.
async fn ps(args: &[&str], pids: Option<&str>) -> Result<String, String> {
    let output = Command::new("ps")
        .args(args)
        .args(pids)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().next() {
        Some(line) if !line.is_empty() => Err(line.to_owned()),
        _ => Err(output.status.to_string()),
    }
}

/// Lines of the processes meant, cut into the columns of the heading; what goes beyond the last is
/// its own.
fn parse(output: &str, pids: &BTreeSet<i32>) -> Result<Value, ApiError> {
    let mut lines = output.lines();
    let titles: Vec<&str> = lines
        .next()
        .unwrap_or("")
        .split_ascii_whitespace()
        .collect();
    let at = titles.iter().position(|title| *title == "PID");
    let at = at.ok_or_else(|| ApiError::system("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    // Lines of threads have no number of their own: they belong to the process above.
    let mut ours = false;
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(pid) = fields.get(at) else { continue };
        if *pid != "-" {
            let pid: i32 = pid
                .parse()
                .map_err(|error| ApiError::system(format!("Unexpected pid '{pid}': {error}")))?;
            ours = pids.contains(&pid);
        }
        if ours {
            let (cells, rest) = fields.split_at(fields.len().min(titles.len() - 1));
            let mut row: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
            row.push(rest.join(" "));
            processes.push(row);
        }
    }
    Ok(json!({"Titles": titles, "Processes": processes}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ps() {
        let output = "UID        PID  PPID CMD\n\
                      root         1     0 init splash\n\
                      root        42     1 sh -c sleep  60\n\
                      root         -     - thread\n\
                      root        43     1 other\n\
                      root         -     - thread\n\n";
        let top = parse(output, &[42].into()).unwrap();
        assert_eq!(
            top,
            json!({"Titles": ["UID", "PID", "PPID", "CMD"], "Processes": [
                ["root", "42", "1", "sh -c sleep 60"], ["root", "-", "-", "thread"]]})
        );
        let error = parse("UID CMD\nroot x\n", &[1].into()).unwrap_err();
        assert_eq!(error.message, "Couldn't find PID field in ps output");
        assert!(parse("", &[1].into()).is_err());
        assert!(parse("PID\nx\n", &[1].into()).is_err());
    }

    #[test]
    fn renamed_columns() {
        check("-o pid,cmd").unwrap();
        check("ao pid=PID").unwrap();
        check("-o pid= PIDX").unwrap();
        let error = check("-o user=PID").unwrap_err();
        assert_eq!(error.message, "specifying \"user=PID\" is not allowed");
    }
}
