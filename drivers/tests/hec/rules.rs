//! What the collector answers to a request, by Splunk's documentation.

use std::collections::HashMap;

use serde_json::{Deserializer, Value, json};

use super::{Request, State};

pub(super) const EVENTS: &str = "/services/collector/event/1.0";
const ACKS: &str = "/services/collector/ack";
const CHANNEL: &str = "x-splunk-request-channel";

fn reply(status: u16, text: &str, code: i64) -> (u16, String) {
    (status, json!({"text": text, "code": code}).to_string())
}

pub(super) fn answer(state: &mut State, request: &Request) -> (u16, String) {
    match (request.method.as_str(), request.path.as_str()) {
        ("OPTIONS", EVENTS) => {
            if request.headers.contains_key("authorization") {
                state.violations.push("OPTIONS with a token".to_owned());
            }
            return (state.settings.verify_status, String::new());
        }
        ("GET", "/services/collector/health") => return reply(200, "HEC is healthy", 17),
        ("POST", EVENTS | ACKS) => {}
        (_, EVENTS | ACKS) => return (405, String::new()),
        _ => return reply(404, "The requested URL was not found on this server.", 404),
    }
    let token = request.headers.get("authorization").map(String::as_str);
    match token.map(|token| token.strip_prefix("Splunk ")) {
        None => return reply(401, "Token is required", 2),
        Some(None) => return reply(401, "Invalid authorization", 3),
        Some(Some(token)) if token != state.settings.token => {
            return reply(403, "Invalid token", 4);
        }
        _ => {}
    }
    let channel = request.headers.get(CHANNEL).cloned();
    if let Some(channel) = &channel {
        let lengths: Vec<_> = channel.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return reply(400, "Invalid data channel", 11);
        }
    }
    if state.settings.ack && channel.is_none() {
        return reply(400, "Data channel is missing", 10);
    }
    if request.path == ACKS {
        return acks(state, request, channel);
    }
    if request.body.len() > state.settings.max_body {
        return reply(413, "Content-Length is too large", 27);
    }
    let (events, refused) = match events(state, &request.body) {
        Ok(found) => found,
        Err(why) => {
            state.violations.push(why);
            return reply(400, "Invalid data format", 6);
        }
    };
    if events.is_empty() {
        return reply(400, "No data", 5);
    }
    if let Some(at) = refused {
        if state.settings.keeps_before {
            state.events.extend_from_slice(&events[..at]);
        }
        let mut answer = json!({"text": "Invalid data format", "code": 6});
        if let Some(off) = state.settings.number_off {
            answer["invalid-event-number"] = json!(at as i64 + off);
        }
        return (400, answer.to_string());
    }
    state.events.extend(events);
    match channel.filter(|_| state.settings.ack) {
        None => reply(200, "Success", 0),
        Some(channel) => {
            let questions = state.settings.indexed_after.unwrap_or(u32::MAX);
            let (next, waiting) = state.channels.entry(channel).or_default();
            let id = *next;
            *next += 1;
            waiting.insert(id, questions);
            let answer = json!({"text": "Success", "code": 0, "ackId": id});
            (200, answer.to_string())
        }
    }
}

/// All events, and which is the first that is refused.
fn events(state: &State, body: &[u8]) -> Result<(Vec<Value>, Option<usize>), String> {
    let mut events = Vec::new();
    let mut refused = None;
    let mut end = 0;
    let mut stream = Deserializer::from_slice(body).into_iter::<Value>();
    while let Some(event) = stream.next() {
        let event = event.map_err(|error| format!("event {}: {error}", events.len()))?;
        let text = &body[end..stream.byte_offset()];
        end = stream.byte_offset();
        if !text.starts_with(b"{\"event\":") {
            return Err(format!("event {} does not begin as one", events.len()));
        }
        check(&event).map_err(|why| format!("event {}: {why}", events.len()))?;
        let bad = state
            .settings
            .refused
            .is_some_and(|word| event["event"].to_string().contains(word));
        if bad && refused.is_none() {
            refused = Some(events.len());
        }
        events.push(event);
    }
    Ok((events, refused))
}

/// Docker's members and no others.
fn check(event: &Value) -> Result<(), String> {
    let members = event.as_object().ok_or("no object")?;
    for (name, value) in members {
        let ok = match name.as_str() {
            "event" => value.is_object() || value.as_str().is_some_and(|text| !text.is_empty()),
            "time" => value.as_str().is_some_and(|time| {
                time.split_once('.').is_some_and(|(seconds, rest)| {
                    seconds.parse::<u64>().is_ok() && rest.len() == 6 && rest.parse::<u32>().is_ok()
                })
            }),
            "host" | "source" | "sourcetype" | "index" => {
                value.as_str().is_some_and(|text| !text.is_empty())
            }
            _ => false,
        };
        if !ok {
            return Err(format!("{name}: {value}"));
        }
    }
    for name in ["event", "time", "host"] {
        if !members.contains_key(name) {
            return Err(format!("no {name}"));
        }
    }
    Ok(())
}

fn acks(state: &mut State, request: &Request, channel: Option<String>) -> (u16, String) {
    if !state.settings.ack {
        return reply(400, "ACK is disabled", 14);
    }
    let asked: Option<Vec<u64>> =
        serde_json::from_slice::<HashMap<String, Vec<u64>>>(&request.body)
            .ok()
            .and_then(|mut body| body.remove("acks"));
    let (Some(asked), Some(channel)) = (asked, channel) else {
        state.violations.push("not a question for acks".to_owned());
        return reply(400, "Invalid data format", 6);
    };
    if request.query != format!("channel={channel}") {
        state.violations.push(format!("query {:?}", request.query));
    }
    let never = state.settings.indexed_after.is_none();
    let (_, waiting) = state.channels.entry(channel).or_default();
    let mut answer = serde_json::Map::new();
    for id in asked {
        let done = match waiting.get_mut(&id) {
            None => false,
            Some(_) if never => false,
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
        };
        // As in Splunk, what was told once is forgotten.
        if done {
            waiting.remove(&id);
        }
        answer.insert(id.to_string(), done.into());
    }
    (200, json!({"acks": answer}).to_string())
}
