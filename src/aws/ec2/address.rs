//! From where machines may be reached: ranges of addresses, and the caller's own public address.

use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use ipnet::IpNet;
use model::base::deadline::Deadline;
use model::fault::Fault;

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The most bytes that are read of an answer: an IPv6 address has at most 45 characters.
const CAP: usize = 256;

/// The range that `text` names (`192.0.2.0/24`, `2001:db8::/32`), without any bits beyond its prefix, as EC2 writes it. The address is
/// read as everything else here reads one: `ipnet` would take `010.0.0.1` for `10.0.0.1`, which is `8.0.0.1` to other programs.
pub fn parse(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.trim().split_once('/')?;
    let range = IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()?;
    Some(range.trunc())
}

/// The caller's own public address, by asking `url`, which must answer with the address as text.
pub async fn find_own(url: &str) -> Result<IpAddr, Fault> {
    let deadline = Deadline::after(LIMIT, format!("`{url}` to answer"));
    let asked = match deadline.bound(ask(url)).await {
        Ok(asked) => asked,
        Err(expired) => Err(expired.to_string()),
    };
    asked.map_err(|why| {
        Fault::outside(format!("cannot find out this computer's public address from `{url}`"))
            .because(why)
            .hint("Say from where machines may be reached with `--ingress-cidr ADDRESS/32`.")
    })
}

async fn ask(url: &str) -> Result<IpAddr, String> {
    let request = HttpRequest::get(url).map_err(|error| error.to_string())?;
    // This uses the SDK's own HTTP stack, so that the program contains one implementation of TLS.
    let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build();
    let mut response = connector.call(request).await.map_err(|error| chain(&error))?;
    if !response.status().is_success() {
        return Err(format!("it answered with status {}", response.status().as_u16()));
    }
    let mut body = ByteStream::new(response.take_body());
    let mut answer = Vec::new();
    while let Some(piece) = body.next().await {
        answer.extend_from_slice(&piece.map_err(|error| chain(&error))?);
        if answer.len() > CAP {
            return Err("its answer is longer than any address".to_owned());
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.trim().parse().map_err(|_| format!("its answer is not an address: `{}`", answer.trim().escape_debug()))
}

/// The text of an error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn ranges_are_read_as_ec2_writes_them() {
        let shown = |text: &str| parse(text).map(|range| range.to_string()).unwrap_or_default();
        assert_eq!(shown("192.0.2.77/24"), "192.0.2.0/24");
        assert_eq!(shown(" 192.0.2.77/32 "), "192.0.2.77/32");
        assert_eq!(shown("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(shown("2001:DB8:0:0::1/64"), "2001:db8::/64");
        assert_eq!(shown("::1/128"), "::1/128");
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1/33",
            "::/129",
            "192.0.2/24",
            "x/8",
            "192.0.2.1/",
            "192.0.2.1/-1",
            "010.0.0.1/8",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    /// Starts a server that answers every request with `answer`; returns its URL.
    async fn serve(answer: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/checkip", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                drop(stream.read(&mut request).await);
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        url
    }

    #[tokio::test]
    async fn the_answer_must_be_an_address() {
        let good = serve("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n203.0.113.9\n").await;
        assert_eq!(find_own(&good).await.unwrap().to_string(), "203.0.113.9");
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>", "not an address"),
            ("HTTP/1.1 503 No\r\nconnection: close\r\n\r\n203.0.113.9", "503"),
        ] {
            let fault = find_own(&serve(answer).await).await.unwrap_err();
            assert!(fault.chain().join(" ").contains(why), "{fault:?}");
            assert!(fault.hint.unwrap().contains("--ingress-cidr"));
        }
    }
}
