//! One call of AWS's interface: read from a request, written back as a request, and answered in the service's manner.

use std::collections::BTreeMap;

use serde_json::Value;

use super::http::{Request, Response};
use super::xml::Element;

/// The account that moto plays.
pub const ACCOUNT: &str = "123456789012";

/// A call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The service's name in signatures: `ec2`, `iam`, `sts`, `ssm`, `pricing`, `lambda`.
    pub service: String,
    /// The action, for example `RunInstances`.
    pub action: String,
    /// The region that it was signed for.
    pub region: String,
    /// Parameters of the query protocol, `InstanceId.1` and so on.
    pub params: BTreeMap<String, String>,
    /// The body of the JSON protocol, or the payload of a function; null for a query.
    pub body: Value,
    /// The payload of a function as it was sent; empty for other calls.
    pub payload: Vec<u8>,
    /// The signature, from which moto takes service and region.
    authorization: String,
    target: String,
}

impl Call {
    /// Reads a call; `None` if the request is not a call.
    pub fn read(request: &Request) -> Option<Self> {
        let authorization = request.header("authorization").to_owned();
        // Credential=KEY/DAY/REGION/SERVICE/aws4_request
        let scope = authorization.split("Credential=").nth(1)?.split(',').next()?;
        let mut scope = scope.split('/').skip(2);
        let (region, service) = (scope.next()?.to_owned(), scope.next()?.to_owned());
        if service == "lambda" {
            return Some(Self { service, region, authorization, ..Self::of_function(request) });
        }
        let target = request.header("x-amz-target").to_owned();
        if let Some((_, action)) = target.rsplit_once('.') {
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            let action = action.to_owned();
            return Some(Self { service, action, region, body, authorization, target, ..Self::default() });
        }
        let params = decode(&String::from_utf8_lossy(&request.body));
        let action = params.get("Action")?.clone();
        Some(Self { service, action, region, params, authorization, target, ..Self::default() })
    }

    /// The parts of a call to Lambda, whose action and function stand in the path:
    /// `/2015-03-31/functions/NAME/invocations`.
    fn of_function(request: &Request) -> Self {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let (mut params, parts) = (decode(query), path.split('/').skip(1).collect::<Vec<_>>());
        let action = match (&*request.method, parts.as_slice()) {
            ("POST", [_, "functions", name, "invocations"]) => {
                params.insert("FunctionName".to_owned(), plain(name));
                "InvokeFunction"
            }
            _ => "",
        };
        params.insert("InvocationType".to_owned(), request.header("x-amz-invocation-type").to_owned());
        let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        Self { action: action.to_owned(), params, body, payload: request.body.clone(), ..Self::default() }
    }

    /// A call that the emulator itself makes to EC2.
    pub fn ec2(region: &str, action: &str, params: &[(&str, &str)]) -> Self {
        let mut all: BTreeMap<String, String> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("Action".to_owned(), action.to_owned());
        all.insert("Version".to_owned(), "2016-11-15".to_owned());
        Self {
            service: "ec2".to_owned(),
            action: action.to_owned(),
            region: region.to_owned(),
            params: all,
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential=EMULATOR/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0"
            ),
            ..Self::default()
        }
    }

    /// The name of the call as policies write it: `service:Action`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.action)
    }

    /// A parameter; empty if the call does not have it.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The values of a list, `InstanceId.1` and so on, in order.
    pub fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|at| self.params.get(&format!("{name}.{at}")).cloned()).collect()
    }

    /// The tags that the call puts on new resources of a kind: `instance`, `volume` and so on.
    pub fn tags(&self, kind: &str) -> Vec<(String, String)> {
        let spec = |at: usize| format!("TagSpecification.{at}");
        let of_kind = (1..)
            .map(spec)
            .take_while(|spec| self.params.contains_key(&format!("{spec}.ResourceType")))
            .filter(|spec| self.param(&format!("{spec}.ResourceType")) == kind);
        let mut tags = Vec::new();
        for spec in of_kind {
            tags.extend((1..).map_while(|at| {
                let key = self.params.get(&format!("{spec}.Tag.{at}.Key"))?.clone();
                Some((key, self.param(&format!("{spec}.Tag.{at}.Value")).to_owned()))
            }));
        }
        tags
    }

    /// Removes the parameters that begin with `prefix`.
    pub fn drop_params(&mut self, prefix: &str) {
        self.params.retain(|name, _| !name.starts_with(prefix));
    }

    /// The call as a request to moto.
    pub fn request(&self) -> Request {
        let mut headers = vec![("authorization".to_owned(), self.authorization.clone())];
        let body = if self.target.is_empty() {
            headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded; charset=utf-8".to_owned()));
            encode(&self.params).into_bytes()
        } else {
            headers.push(("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()));
            headers.push(("x-amz-target".to_owned(), self.target.clone()));
            self.body.to_string().into_bytes()
        };
        Request { method: "POST".to_owned(), path: "/".to_owned(), headers, body }
    }

    fn is_json(&self) -> bool {
        !self.target.is_empty() || self.service == "lambda"
    }

    /// An error in the service's manner.
    pub fn refuse(&self, status: u16, code: &str, message: &str) -> Response {
        if self.is_json() {
            let body = serde_json::json!({"__type": code, "message": message});
            let mut response = Response::new(status, "application/x-amz-json-1.1", body.to_string());
            response.headers.push(("x-amzn-errortype".to_owned(), code.to_owned()));
            return response;
        }
        let told = vec![Element::leaf("Code", code), Element::leaf("Message", message)];
        let document = if self.service == "ec2" {
            let errors = Element::node("Errors", vec![Element::node("Error", told)]);
            Element::node("Response", vec![errors, Element::leaf("RequestID", "emulator")])
        } else {
            Element::node("ErrorResponse", vec![Element::node("Error", told), Element::leaf("RequestId", "emulator")])
        };
        Response::new(status, "text/xml", document.document())
    }

    /// A success of the JSON protocol.
    pub fn json(&self, body: &Value) -> Response {
        Response::new(200, "application/x-amz-json-1.1", body.to_string())
    }

    /// A success of EC2 with these elements.
    pub fn xml(&self, children: Vec<Element>) -> Response {
        let mut document = Element::node(&format!("{}Response", self.action), children);
        document.put(Element::leaf("requestId", "emulator"));
        Response::new(200, "text/xml", document.document())
    }

    /// The refusal of a caller without the permission.
    pub fn denied(&self) -> Response {
        let name = self.name();
        let message = format!(
            "You are not authorized to perform this operation. User: arn:aws:iam::{ACCOUNT}:user/tester is not authorized \
             to perform: {name} because no identity-based policy allows the {name} action"
        );
        match (&*self.service, self.is_json()) {
            ("ec2", _) => self.refuse(403, "UnauthorizedOperation", &message),
            ("lambda", _) => self.refuse(403, "AccessDeniedException", &message),
            (_, true) => self.refuse(400, "AccessDeniedException", &message),
            (_, false) => self.refuse(403, "AccessDenied", &message),
        }
    }

    /// The refusal of a caller who calls too often.
    pub fn throttled(&self) -> Response {
        match (&*self.service, self.is_json()) {
            ("ec2", _) => self.refuse(503, "RequestLimitExceeded", "Request limit exceeded."),
            ("lambda", _) => self.refuse(429, "TooManyRequestsException", "Rate Exceeded."),
            (_, true) => self.refuse(400, "ThrottlingException", "Rate exceeded"),
            (_, false) => self.refuse(400, "Throttling", "Rate exceeded"),
        }
    }

    /// The refusal of credentials that were good yesterday.
    pub fn expired(&self) -> Response {
        match (&*self.service, self.is_json()) {
            ("ec2", _) => self.refuse(400, "RequestExpired", "Request has expired."),
            (_, true) => {
                self.refuse(400, "ExpiredTokenException", "The security token included in the request is expired")
            }
            (_, false) => self.refuse(403, "ExpiredToken", "The security token included in the request is expired"),
        }
    }
}

fn decode(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (plain(k), plain(v))).collect()
}

/// A word of a form without its `%XX` and `+`.
fn plain(word: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let value = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, value) {
            (_, Some(value)) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', None) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, None) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(params: &BTreeMap<String, String>) -> String {
    let word = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    params.iter().map(|(name, value)| format!("{}={}", word(name), word(value))).collect::<Vec<_>>().join("&")
}
