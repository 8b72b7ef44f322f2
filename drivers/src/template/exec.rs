//! Evaluation, as Go's `text/template/exec.go`.

use super::funcs::{self, CallError};
use super::node::{Arg, ArgKind, Branch, Command, Node, Pipe};
use super::value::{MemberKind, Value};
use super::{MAX_OUTPUT, MAX_STEPS, Template, TemplateError, fmt};

pub(super) fn render(template: &Template, dot: &Value) -> Result<String> {
    let mut state = State {
        template,
        variables: vec![("$".to_owned(), dot.clone())],
        out: String::new(),
        steps: 0,
    };
    state.walk(&template.nodes, dot)?;
    Ok(state.out)
}

type Result<T, E = TemplateError> = std::result::Result<T, E>;

/// Whether a loop goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct State<'a> {
    template: &'a Template,
    variables: Vec<(String, Value)>,
    out: String,
    steps: usize,
}

impl State<'_> {
    fn fail<T>(
        &self,
        pos: usize,
        context: &dyn std::fmt::Display,
        message: impl Into<String>,
    ) -> Result<T> {
        self.fail_as(pos, context, message, false)
    }

    fn fail_as<T>(
        &self,
        pos: usize,
        context: &dyn std::fmt::Display,
        message: impl Into<String>,
        unknown_field: bool,
    ) -> Result<T> {
        let before = &self.template.text.as_bytes()[..pos];
        let line_start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        Err(TemplateError::Exec {
            name: self.template.name.clone(),
            line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
            column: pos - line_start,
            context: context.to_string(),
            message: message.into(),
            unknown_field,
        })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(TemplateError::TooLong {
                name: self.template.name.clone(),
                limit: MAX_OUTPUT,
            });
        }
        self.out.push_str(text);
        Ok(())
    }

    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipe) => {
                    let value = self.pipeline(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        self.print(&value)?;
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let scope = self.variables.len();
                    let value = self.pipeline(dot, &branch.pipe)?;
                    let flow = if !value.truth() {
                        self.walk(&branch.otherwise, dot)?
                    } else if matches!(node, Node::With(_)) {
                        self.walk(&branch.then, &value)?
                    } else {
                        self.walk(&branch.then, dot)?
                    };
                    self.variables.truncate(scope);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let scope = self.variables.len();
                    let flow = self.range(dot, branch)?;
                    self.variables.truncate(scope);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Value) -> Result<()> {
        let mut text = String::new();
        match value {
            Value::Nil => text.push_str("<no value>"),
            value => fmt::print(&mut text, value),
        }
        self.write(&text)
    }

    fn range(&mut self, dot: &Value, branch: &Branch) -> Result<Flow> {
        let pipe = &branch.pipe;
        let value = self.commands(dot, pipe)?;
        let items: Vec<(Value, &Value)> = match &value {
            Value::List(items) => (0i64..).map(Value::Int).zip(items).collect(),
            Value::Map(items) => Value::sorted(items)
                .into_iter()
                .map(|(key, item)| (Value::Str(key.clone()), item))
                .collect(),
            Value::Nil => Vec::new(),
            other => {
                let mut text = String::new();
                fmt::print(&mut text, other);
                return self.fail(pipe.pos, pipe, format!("range can't iterate over {text}"));
            }
        };
        if items.is_empty() {
            return self.walk(&branch.otherwise, dot);
        }
        for (key, item) in items {
            let scope = self.variables.len();
            match pipe.variables.as_slice() {
                [one] => self.assign(one, pipe.assign, item.clone()),
                [first, second] => {
                    self.assign(first, pipe.assign, key);
                    self.assign(second, pipe.assign, item.clone());
                }
                _ => {}
            }
            let flow = self.walk(&branch.then, item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn assign(&mut self, name: &str, existing: bool, value: Value) {
        if existing && let Some(variable) = self.variables.iter_mut().rev().find(|(n, _)| n == name)
        {
            variable.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &Pipe) -> Result<Value> {
        let value = self.commands(dot, pipe)?;
        for name in &pipe.variables {
            self.assign(name, pipe.assign, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, dot: &Value, pipe: &Pipe) -> Result<Value> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return self.fail(pipe.pos, pipe, format!("more than {MAX_STEPS} steps"));
        }
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    /// `last`: the result of the command before, the last argument of this one.
    fn command(&mut self, dot: &Value, command: &Command, last: Option<Value>) -> Result<Value> {
        let first = &command.args[0];
        let rest = &command.args[1..];
        match &first.kind {
            ArgKind::Function(name) => return self.function(dot, command, name, last),
            ArgKind::Field(names) => {
                let args = self.arguments(dot, rest, last)?;
                return self.fields(first, dot, names, args);
            }
            ArgKind::Variable(name, names) if !names.is_empty() => {
                let value = self.variable(name);
                let args = self.arguments(dot, rest, last)?;
                return self.fields(first, &value, names, args);
            }
            ArgKind::Chain(pipe, names) => {
                let value = self.pipeline(dot, pipe)?;
                let args = self.arguments(dot, rest, last)?;
                return self.fields(first, &value, names, args);
            }
            _ => {}
        }
        if !rest.is_empty() || last.is_some() {
            return self.fail(
                first.pos,
                first,
                format!("can't give argument to non-function {first}"),
            );
        }
        if matches!(first.kind, ArgKind::Nil) {
            return self.fail(first.pos, first, "nil is not a command");
        }
        self.argument(dot, first)
    }

    fn arguments(&mut self, dot: &Value, args: &[Arg], last: Option<Value>) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in args {
            values.push(self.argument(dot, arg)?);
        }
        values.extend(last);
        Ok(values)
    }

    fn variable(&self, name: &str) -> Value {
        // The parser lets only declared variables pass.
        self.variables
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn argument(&mut self, dot: &Value, arg: &Arg) -> Result<Value> {
        match &arg.kind {
            ArgKind::Dot => Ok(dot.clone()),
            ArgKind::Nil => Ok(Value::Nil),
            ArgKind::Bool(b) => Ok(Value::Bool(*b)),
            ArgKind::Int(n, _) => Ok(Value::Int(*n)),
            ArgKind::Float(n, _) => Ok(Value::Float(*n)),
            ArgKind::Str(_, text) => Ok(Value::Str(text.clone())),
            ArgKind::Function(name) => {
                let command = Command {
                    pos: arg.pos,
                    args: vec![arg.clone()],
                };
                self.function(dot, &command, name, None)
            }
            ArgKind::Field(names) => self.fields(arg, dot, names, Vec::new()),
            ArgKind::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(arg, &value, names, Vec::new())
            }
            ArgKind::Pipe(pipe) => self.pipeline(dot, pipe),
            ArgKind::Chain(pipe, names) => {
                let value = self.pipeline(dot, pipe)?;
                self.fields(arg, &value, names, Vec::new())
            }
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        command: &Command,
        name: &str,
        last: Option<Value>,
    ) -> Result<Value> {
        let args = &command.args[1..];
        if funcs::SHORT_CIRCUIT.contains(&name) {
            if args.is_empty() && last.is_none() {
                return self.fail(
                    command.pos,
                    &command.args[0],
                    format!("wrong number of args for {name}: want at least 1 got 0"),
                );
            }
            let mut value = Value::Nil;
            for arg in args {
                value = self.argument(dot, arg)?;
                if value.truth() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let values = self.arguments(dot, args, last)?;
        match funcs::call(name, &values) {
            Ok(value) => Ok(value),
            Err(CallError::Usage(message)) => self.fail(command.pos, &command.args[0], message),
            Err(CallError::Calling(message)) => self.fail(
                command.pos,
                command,
                format!("error calling {name}: {message}"),
            ),
        }
    }

    /// `.A.B.C args`: only the last may have arguments.
    fn fields(
        &self,
        at: &Arg,
        start: &Value,
        names: &[String],
        mut args: Vec<Value>,
    ) -> Result<Value> {
        let mut value = start;
        for (i, name) in names.iter().enumerate() {
            let args = if i + 1 == names.len() {
                std::mem::take(&mut args)
            } else {
                Vec::new()
            };
            value = match self.field(at, value, name, &args)? {
                Some(value) => value,
                None => return Ok(Value::Nil),
            };
        }
        Ok(value.clone())
    }

    /// `None`: a missing key, which is no error unless the template is strict.
    fn field<'v>(
        &self,
        at: &Arg,
        value: &'v Value,
        name: &str,
        args: &[Value],
    ) -> Result<Option<&'v Value>> {
        match value {
            Value::Object(object) => {
                let Some((_, kind, member)) = object.members.iter().find(|(n, _, _)| *n == name)
                else {
                    return self.unknown(at, value, name);
                };
                let want = match kind {
                    MemberKind::Field if args.is_empty() => return Ok(Some(member)),
                    MemberKind::Field => {
                        return self.fail(
                            at.pos,
                            at,
                            format!("{name} has arguments but cannot be invoked as function"),
                        );
                    }
                    MemberKind::Method => 0,
                    MemberKind::MethodWithArgument => 1,
                };
                if args.len() != want {
                    return self.fail(
                        at.pos,
                        at,
                        format!(
                            "wrong number of args for {name}: want {want} got {}",
                            args.len()
                        ),
                    );
                }
                Ok(Some(member))
            }
            Value::Map(items) => {
                if !args.is_empty() {
                    return self.fail(
                        at.pos,
                        at,
                        format!("{name} is not a method but has arguments"),
                    );
                }
                match items.iter().find(|(key, _)| key == name) {
                    Some((_, value)) => Ok(Some(value)),
                    None if self.template.strict => self.fail(
                        at.pos,
                        at,
                        format!("map has no entry for key {}", crate::go::quote(name)),
                    ),
                    None => Ok(None),
                }
            }
            Value::Nil if self.template.strict => self.fail(
                at.pos,
                at,
                format!("nil data; no entry for key {}", crate::go::quote(name)),
            ),
            Value::Nil => Ok(None),
            _ => self.unknown(at, value, name),
        }
    }

    fn unknown<T>(&self, at: &Arg, value: &Value, name: &str) -> Result<T> {
        self.fail_as(
            at.pos,
            at,
            format!("can't evaluate field {name} in type {}", value.type_name()),
            true,
        )
    }
}
