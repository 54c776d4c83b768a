//! The proxy between a caller and moto: it reads calls, follows the orders of tests, and answers as AWS does where moto
//! would not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use super::call::{ACCOUNT, Call};
use super::control::Control;
use super::ec2::Ec2;
use super::http::{self, Request, Response};
use super::machines::Machines;
use super::{lambda, metadata, pricing, ssm};

/// The proxy, which all connections share.
pub(crate) struct Proxy {
    /// Orders and log.
    pub control: Arc<Control>,
    /// The differences of EC2 from moto.
    pub ec2: Ec2,
    /// Systems Manager's commands.
    pub ssm: ssm::Ssm,
    moto: SocketAddr,
    /// The account within moto; callers always see [`ACCOUNT`].
    account: String,
    machines: Option<Arc<Machines>>,
}

impl Proxy {
    /// A proxy in front of moto, for one of its accounts.
    pub(crate) fn new(
        control: Arc<Control>,
        moto: SocketAddr,
        account: String,
        machines: Option<Arc<Machines>>,
    ) -> Self {
        Self { control, ec2: Ec2::default(), ssm: ssm::Ssm::default(), moto, account, machines }
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let proxy = Arc::clone(&self);
                    // An error concerns only the caller: a connection that it closed or that broke.
                    tokio::spawn(async move { proxy.connection(stream).await.unwrap_or_default() });
                }
                // The error may be temporary, for example too many open files.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let caller = stream.peer_addr()?.ip();
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read_request(&mut stream).await? {
            if request.method == "GET" && request.path == "/checkip" {
                let caller = self.control.conditions().caller.unwrap_or(caller);
                http::write_response(&mut stream, &Response::new(200, "text/plain", format!("{caller}\n"))).await?;
                continue;
            }
            if let Some(response) = metadata::answer(&request, &self.control) {
                // Whoever asks on an instance reads to the end of the connection.
                return http::write_response(&mut stream, &response).await;
            }
            match self.handle(&request).await {
                Some(response) => http::write_response(&mut stream, &response).await?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Answers a request; `None` if its reply is to be cut.
    async fn handle(&self, request: &Request) -> Option<Response> {
        let Some(call) = Call::read(request) else {
            return Some(Response::new(400, "text/plain", "this is not a signed call to AWS\n"));
        };
        let verdict = self.control.judge(&call);
        tokio::time::sleep(verdict.delay).await;
        let response = match verdict.refusal {
            Some(refusal) => refusal,
            None => self.answer(&call).await,
        };
        if verdict.cut {
            return None;
        }
        self.control.log_answer(verdict.number, &response);
        Some(response)
    }

    async fn answer(&self, call: &Call) -> Response {
        match &*call.service {
            "ec2" => self.ec2.answer(self, call).await,
            "ssm" => self.ssm.answer(self, call).await,
            "lambda" => lambda::answer(call, &self.control).await,
            "pricing" => pricing::answer(call, self.control.conditions().prices),
            _ => self.forward(call).await,
        }
    }

    /// Asks moto.
    pub(crate) async fn forward(&self, call: &Call) -> Response {
        let mut request = call.request();
        request.headers.push(("x-moto-account-id".to_owned(), self.account.clone()));
        request.body = swap(&request.body, ACCOUNT, &self.account);
        match http::send(self.moto, &request).await {
            // A failure within moto itself comes as a page for people.
            Ok(response) if response.status >= 500 => call.refuse(500, "InternalError", &response.text()),
            Ok(response) => Response { body: swap(&response.body, &self.account, ACCOUNT), ..response },
            Err(error) => call.refuse(500, "InternalError", &format!("moto does not answer: {error}")),
        }
    }

    /// The real machines, if the emulator has them.
    pub(crate) fn machines(&self) -> Option<&Arc<Machines>> {
        self.machines.as_ref()
    }

    /// Whether an instance counts as `running`: its machine has started, or there are no real machines.
    pub(crate) fn machine_started(&self, id: &str) -> bool {
        self.machines.as_ref().is_none_or(|machines| machines.is_started(id))
    }

    /// Whether a real machine of the instance still exists.
    pub(crate) fn has_machine(&self, id: &str) -> bool {
        self.machines.as_ref().is_some_and(|machines| machines.exists(id))
    }

    /// The address of an instance's machine.
    pub(crate) fn machine_address(&self, id: &str) -> Option<String> {
        self.machines.as_ref().and_then(|machines| machines.address(id))
    }
}

/// Replaces the number of one account by that of another.
fn swap(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    match std::str::from_utf8(body) {
        Ok(text) if from != to => text.replace(from, to).into_bytes(),
        _ => body.to_vec(),
    }
}
