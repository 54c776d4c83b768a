//! The metadata service of instances, as far as the tool asks it: version 2, and the notice of a spot instance.
//!
//! An instance has the network of this computer, so it asks the emulator, at a path of its own; its SSH server tells its sessions where that
//! is, by a variable that programs of AWS heed.

use std::net::SocketAddr;

use super::control::Control;
use super::http::{Request, Response};

/// Where all of this is found.
const PLACE: &str = "/metadata/";

/// The token of every session.
const TOKEN: &str = "emulated-token";

/// The value of `AWS_EC2_METADATA_SERVICE_ENDPOINT` on an instance.
pub(crate) fn endpoint(address: SocketAddr, instance: &str) -> String {
    format!("http://{address}{PLACE}{instance}")
}

/// Answers a request to the service; `None` if it is a request to something else.
pub(crate) fn answer(request: &Request, control: &Control) -> Option<Response> {
    let (instance, path) = request.path.strip_prefix(PLACE)?.split_once("/latest/")?;
    let refuse = |status, why: &str| Response::new(status, "text/plain", why);
    Some(match (&*request.method, path) {
        ("PUT", "api/token") if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => refuse(400, ""),
        ("PUT", "api/token") => Response::new(200, "text/plain", TOKEN),
        _ if request.header("x-aws-ec2-metadata-token") != TOKEN => refuse(401, "Unauthorized"),
        ("GET", "meta-data/spot/instance-action") => match control.spot_notice(instance) {
            Some(notice) => Response::new(200, "application/json", notice),
            None => refuse(404, "Not Found"),
        },
        _ => refuse(404, "Not Found"),
    })
}
