//! `POST /containers/{name}/wait`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use super::request::Request;
use super::version;
use crate::container::WaitOutcome;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Answers with the header at once and the outcome when it is there; a client that leaves ends
/// the wait.
///
/// # Errors
/// 404 for an unknown container, 400 for an unknown condition.
pub(crate) async fn wait(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let legacy = request.version < version::WAIT_CONDITION;
    let condition = if legacy {
        ""
    } else {
        request.query.text("condition")
    };
    let container = daemon.find(name)?;
    let wait = daemon.wait(&container, condition)?;
    if legacy {
        return Ok(reply::json(StatusCode::OK, &shape(&wait.finish().await)));
    }
    let (sender, reply) = reply::stream("application/json");
    let peer = request.peer.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = peer.gone() => {}
            outcome = wait.finish() => {
                // A client that is gone needs no answer.
                let _ = sender.send(reply::json_line(&shape(&outcome))).await;
            }
        }
    });
    Ok(reply)
}

fn shape(outcome: &WaitOutcome) -> Value {
    let error = outcome
        .error
        .as_ref()
        .map(|message| json!({"Message": message}));
    json!({"Error": error, "StatusCode": outcome.status})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let ended = WaitOutcome {
            status: 7,
            error: None,
        };
        assert_eq!(
            shape(&ended).to_string(),
            r#"{"Error":null,"StatusCode":7}"#
        );
        let failed = WaitOutcome {
            status: -1,
            error: Some("context canceled".to_owned()),
        };
        assert_eq!(
            shape(&failed).to_string(),
            r#"{"Error":{"Message":"context canceled"},"StatusCode":-1}"#
        );
    }
}
