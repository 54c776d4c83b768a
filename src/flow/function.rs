//! A call of a function that replies with messages: the size of what is sent, and what its reply says.

use model::base::text;
use model::fault::Fault;
use model::function::Functions;
use serde_json::Value;

/// How much of a reply that cannot be read is shown, bytes.
const SHOWN: usize = 300;

/// Refuses a payload of more bytes than a call takes.
pub fn check_size(functions: &dyn Functions, size: u64) -> Result<(), Fault> {
    let cap = functions.payload_cap();
    if size <= cap {
        return Ok(());
    }
    // Two sizes that differ by little read alike in larger units.
    Err(Fault::usage(format!(
        "a payload of {size} bytes ({}) is to be sent, and a call of a function takes at most {cap} ({})",
        text::bytes(size),
        text::bytes(cap)
    )))
}

/// Calls the function `name` and gives the messages of its reply. A payload that is too large is not sent.
pub async fn call(functions: &dyn Functions, name: &str, payload: Vec<u8>) -> Result<Vec<String>, Fault> {
    check_size(functions, payload.len() as u64)?;
    read_messages(name, &functions.call(name, payload).await?)
}

/// The messages of a reply, which is a list in JSON. A message that is no text is given as JSON.
fn read_messages(name: &str, reply: &[u8]) -> Result<Vec<String>, Fault> {
    let excerpt = || match text::trim_output(reply) {
        shown if shown.is_empty() => "it is empty".to_owned(),
        shown => format!("it is {}", text::cut(&shown, SHOWN)),
    };
    let unreadable = |what: &str| {
        Fault::outside(format!("the reply of the function `{name}` is {what}"))
            .because(excerpt())
            .hint("The function ended without an error, so what was sent arrived; its log says what became of it.")
    };
    match serde_json::from_slice(reply) {
        Ok(Value::Array(messages)) => Ok(messages
            .into_iter()
            .map(|message| match message {
                Value::String(text) => text,
                other => other.to_string(),
            })
            .collect()),
        Ok(_) => Err(unreadable("not a list of messages")),
        Err(_) => Err(unreadable("not JSON")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use model::fault::FaultKind;

    use super::*;

    /// Takes ten bytes, and keeps what was sent.
    struct Echo(Mutex<Vec<Vec<u8>>>);

    #[async_trait]
    impl Functions for Echo {
        fn place(&self) -> &str {
            "here"
        }

        fn payload_cap(&self) -> u64 {
            10
        }

        async fn check(&self, _: &str) -> Result<(), Fault> {
            Ok(())
        }

        async fn call(&self, _: &str, payload: Vec<u8>) -> Result<Vec<u8>, Fault> {
            self.0.lock().unwrap().push(payload.clone());
            Ok(payload)
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_sent() {
        let functions = Echo(Mutex::default());
        assert_eq!(call(&functions, "f", b"[\"34567\"] ".to_vec()).await.unwrap(), ["34567"]);
        let fault = call(&functions, "f", b"[\"345678\"] ".to_vec()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Usage);
        assert!(fault.message.contains("11 bytes") && fault.message.contains("at most 10"), "{}", fault.message);
        assert_eq!(functions.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_reply_is_a_list_and_anything_else_is_shown() {
        assert_eq!(read_messages("f", b"[]").unwrap(), Vec::<String>::new());
        assert_eq!(read_messages("f", b"[\"a\", 1, {\"b\": null}]").unwrap(), ["a", "1", "{\"b\":null}"]);
        for (reply, what, shown) in [
            (&b"null"[..], "not a list", "it is null"),
            (b"{\"a\": 1}", "not a list", "it is {\"a\": 1}"),
            (b"<html>", "not JSON", "it is <html>"),
            (b"[\"a\", ", "not JSON", "it is [\"a\","),
            (b"", "not JSON", "it is empty"),
            (b"\xff", "not JSON", "it is \u{fffd}"),
        ] {
            let fault = read_messages("f", reply).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Outside);
            assert!(fault.message.contains(what) && fault.line().contains(shown), "{fault:?}");
        }
        let long = read_messages("f", "x".repeat(5000).as_bytes()).unwrap_err().line();
        assert!(long.len() < 500 && long.contains("4700 bytes left out"), "{long}");
    }
}
