//! AWS Lambda: calls of functions, each of which is a program on this computer that a test names. It gets the payload
//! on its standard input, and what it prints is its reply.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::call::{ACCOUNT, Call};
use super::control::Control;
use super::http::Response;

/// A payload must have fewer bytes.
const PAYLOAD_CAP: usize = 6_291_456;

/// How long a program may run: what a function of a few commands takes many times over.
const FUNCTION_LIMIT: Duration = Duration::from_secs(60);

/// Answers a call.
pub(crate) async fn answer(call: &Call, control: &Control) -> Response {
    if call.action != "InvokeFunction" {
        return call.refuse(400, "InvalidAction", "only calls of functions are emulated");
    }
    let name = call.param("FunctionName");
    if !["", "RequestResponse"].contains(&call.param("InvocationType")) {
        return call.refuse(400, "InvalidParameterValueException", "only calls that wait are emulated");
    }
    if call.payload.len() >= PAYLOAD_CAP {
        let message = format!("Request must be smaller than {PAYLOAD_CAP} bytes for the InvokeFunction operation");
        return call.refuse(413, "RequestTooLargeException", &message);
    }
    let Some(program) = control.conditions().functions.get(short_name(name)).cloned() else {
        let message = format!("Function not found: {}", arn(&call.region, name));
        return call.refuse(404, "ResourceNotFoundException", &message);
    };
    if call.body == Value::Null {
        return call.refuse(400, "InvalidRequestContentException", "Could not parse request body into json");
    }
    run(&program, &call.payload).await
}

/// A function's ARN, whichever way it was named.
pub fn arn(region: &str, name: &str) -> String {
    match name.starts_with("arn:") {
        true => name.to_owned(),
        false => format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"),
    }
}

fn short_name(name: &str) -> &str {
    let whole = name.split_once(":function:").map_or(name, |(_, rest)| rest);
    whole.split(':').next().unwrap_or(whole)
}

/// The answer of a function that the program plays.
async fn run(words: &[OsString], payload: &[u8]) -> Response {
    let Some((program, arguments)) = words.split_first() else {
        return failure("Runtime.InvalidEntrypoint", "no program stands in for the function");
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ran = async {
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A function need not read what it is given.
                stdin.write_all(payload).await.unwrap_or_default();
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        output
    };
    match tokio::time::timeout(FUNCTION_LIMIT, ran).await {
        Ok(Ok(output)) if output.status.success() => reply(output.stdout, false),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            failure("Runtime.ExitError", said.lines().last().unwrap_or("Runtime exited with error"))
        }
        Ok(Err(error)) => failure("Runtime.InvalidEntrypoint", &error.to_string()),
        Err(_) => failure("Sandbox.Timedout", &format!("Task timed out after {FUNCTION_LIMIT:?}")),
    }
}

fn failure(kind: &str, message: &str) -> Response {
    reply(json!({"errorType": kind, "errorMessage": message}).to_string().into_bytes(), true)
}

fn reply(body: Vec<u8>, failed: bool) -> Response {
    let mut response = Response::new(200, "application/json", body);
    response.headers.push(("X-Amz-Executed-Version".to_owned(), "$LATEST".to_owned()));
    if failed {
        response.headers.push(("X-Amz-Function-Error".to_owned(), "Unhandled".to_owned()));
    }
    response
}
