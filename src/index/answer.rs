//! What an index answers, as faults.

use model::base::deadline::Deadline;
use model::base::text;
use model::fault::Fault;
use reqwest::{Response, StatusCode, Url};

/// Most bytes of an answer's text that are read, and most that are shown.
const READ: usize = 64 << 10;
const SHOWN: usize = 400;

/// Whether the same request may be answered otherwise the next time.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Whether the answer's text is JSON, by its own word.
pub(crate) fn is_json(answer: &Response) -> bool {
    let kind = answer.headers().get("Content-Type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().ends_with("json"))
}

/// Whether the answer sends its reader from `url` to another host.
pub(crate) fn leads_to_another_host(answer: &Response, url: &Url) -> bool {
    let place = answer.headers().get("Location").and_then(|place| place.to_str().ok());
    let place = place.and_then(|place| url.join(place).ok());
    place.is_some_and(|place| place.host_str() != url.host_str())
}

/// The fault of a request that got no answer.
pub(crate) fn not_reached(url: &Url, error: reqwest::Error) -> Fault {
    let message = match error.is_connect() {
        true => format!("cannot connect to `{url}`"),
        false => format!("the connection to `{url}` broke"),
    };
    Fault::infrastructure(message).because(error.without_url())
}

/// The fault of an answer that is a refusal, with what it says; `what` is what `url` does not do.
pub(crate) async fn refusal(answer: Response, deadline: &Deadline, url: &Url, what: &str) -> Fault {
    let status = answer.status();
    let place = answer.headers().get("Location").and_then(|place| place.to_str().ok()).map(str::to_owned);
    let said = said(answer, deadline).await;
    let message = format!("`{url}` {what}: HTTP {status}");
    let fault = match status.as_u16() {
        401 | 403 => Fault::outside(message).hint(
            "Check the token: `AUTOMATION_INDEX_TOKEN`, or `TWINE_PASSWORD`, or your `.netrc`; and that it is for this index and project.",
        ),
        300..=399 => {
            let place = place.unwrap_or_else(|| "another address".to_owned());
            Fault::outside(format!("{message}, to `{}`, which is not followed", place.escape_debug()))
                .hint("Name that address with `--repository-url` or `--index-url` if it is right.")
        }
        _ if may_pass(status) => Fault::infrastructure(message).hint("Try again later."),
        _ => Fault::outside(message),
    };
    if said.is_empty() { fault } else { fault.because(said) }
}

/// The text of an answer, without marks of HTML and cut.
async fn said(mut answer: Response, deadline: &Deadline) -> String {
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(piece))) = deadline.bound(answer.chunk()).await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > READ {
            break;
        }
    }
    text::cut(&plain(&String::from_utf8_lossy(&bytes)), SHOWN)
}

/// The words of a page, with one blank between them.
fn plain(page: &str) -> String {
    let mut words = String::new();
    let mut within = false;
    for c in page.chars() {
        match c {
            '<' => within = true,
            '>' if within => {
                within = false;
                words.push(' ');
            }
            _ if !within => words.push(c),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_words() {
        let page = "<html>\n <head><title>400 File already exists.</title></head>\n <body>See <a href='x'>help</a></body></html>";
        assert_eq!(plain(page), "400 File already exists. See help");
        assert_eq!(plain("no < mark"), "no");
        assert_eq!(plain("a > b"), "a > b");
    }
}
