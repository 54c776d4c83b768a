//! `automation machine tunnel`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flow::tunnel::forward;
use model::connection::ConnectionError;
use model::fault::Fault;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::command::error::exit;
use crate::command::machine::chosen::choose;
use crate::command::signals;
use crate::compose::Context;

/// Lead a port here to one of a machine.
#[derive(Debug, clap::Args)]
#[command(override_usage = "automation machine tunnel [OPTIONS] [ID] PORT[:REMOTE]")]
pub struct Args {
    /// The machine, which may be left out where one is there alone; then the port here, and the port of the machine where it is
    /// another. Port 0 here is any free one, which is printed
    #[arg(required = true, num_args = 1..=2, value_name = "PORT[:REMOTE]")]
    words: Vec<String>,
    /// Listen at this address of this computer, so that others can reach the machine through it
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
}

/// The port here and that of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    near: u16,
    far: u16,
}

/// Reads `PORT[:REMOTE]`.
fn parse_ports(text: &str) -> Result<Ports, Fault> {
    let (near, far) = text.split_once(':').unwrap_or((text, text));
    let wrong = || {
        Fault::usage(format!("`{text}` names no ports"))
            .hint("Give `8080` for the same port on both sides, `8080:80` for port 80 of the machine, `0:80` for any free port here.")
    };
    match (near.parse(), far.parse()) {
        (Ok(near), Ok(far @ 1..)) => Ok(Ports { near, far }),
        _ => Err(wrong()),
    }
}

/// Leads the port there until it is interrupted.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let (id, ports) = match args.words.as_slice() {
        [id, ports] => (Some(id.as_str()), ports),
        [ports] => (None, ports),
        _ => return Err(Fault::usage("a tunnel is from one port to another").hint("Give `ID PORT[:REMOTE]`.")),
    };
    let ports = parse_ports(ports)?;
    let machine = choose(context, id)?;
    let place = SocketAddr::new(args.bind, ports.near);
    let failed = |error| {
        Fault::outside(format!("cannot listen at `{place}`"))
            .because(error)
            .hint("Another program may be using the port: `0:REMOTE` takes any that is free.")
    };
    let listener = TcpListener::bind(place).await.map_err(failed)?;
    let connection = super::connect(context, &machine).await?;
    // Whoever cannot have streams learns it before anything connects.
    connection.tunnels()?;
    let near = listener.local_addr().map_err(failed)?;
    if !near.ip().is_loopback() {
        context.screen.message(&format!("Whoever reaches this computer at {near} reaches the machine."));
    }
    context.screen.data(&format!("{near} -> {}:{}\n", machine.id, ports.far));
    let stop = CancellationToken::new();
    signals::watch_work(stop.clone(), "closing the tunnel", "Left at once.".to_owned())?;
    let tell = |error: &ConnectionError| {
        context.screen.message(&format!("A stream ended at once, and others like it will: {error}"));
    };
    let done = forward(listener, connection.as_ref(), ports.far, &stop, &tell).await;
    connection.close().await;
    done.map(|()| exit::INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_that_of_both_sides() {
        let ports = |near, far| Ports { near, far };
        for (text, meant) in [("8080", ports(8080, 8080)), ("8080:80", ports(8080, 80)), ("0:80", ports(0, 80))] {
            assert_eq!(parse_ports(text).unwrap(), meant, "{text}");
        }
        for bad in ["", "0", "80:0", "x", "80:", ":80", "1:2:3", "65536", "-1"] {
            assert!(parse_ports(bad).unwrap_err().hint.is_some(), "{bad}");
        }
    }
}
