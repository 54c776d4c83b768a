//! AWS without an account: moto behind our own proxy, which answers as AWS does where moto does not, follows the orders
//! of tests, and starts a real machine on this computer for every instance.
//!
//! Deliberately absent: checks of signatures and of policies (a test orders refusals), costs, and differences between
//! regions.

pub mod call;
pub mod control;
mod ec2;
mod http;
pub mod lambda;
pub mod lines;
mod machines;
mod metadata;
pub mod moto;
mod pricing;
mod proxy;
pub mod seeds;
mod ssm;
pub mod xml;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use model::fault::Fault;
use tokio::sync::oneshot;

pub use control::Control;

use machines::Machines;

/// The folder of the whole project, below which `tests/emulator-venv` installs moto.
pub fn project() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// The region of everything here.
pub const REGION: &str = "us-west-2";

/// The options for starting an emulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// A folder of the emulator's own.
    pub folder: PathBuf,
    /// Whether instances are real machines; otherwise there is only the interface.
    pub machines: bool,
    /// The program whose hidden subcommands guard local machines: the tool, or a program that answers as it does.
    pub executable: PathBuf,
    /// Whether moto is shared with the other emulators of this process, in which each has an account to itself.
    pub shares_moto: bool,
    /// A state directory of the tool whose images hold base systems, so that they need not be made anew each time.
    pub bases: PathBuf,
}

/// A running emulator. When dropped, it ends everything that it has started.
pub struct Emulator {
    /// Orders and log.
    pub control: Arc<Control>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts everything; returns once the emulator answers.
    pub fn start(options: Options) -> Result<Self, Fault> {
        let control = Arc::new(Control::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, told) = mpsc::channel();
        let theirs = Arc::clone(&control);
        // The emulator has a thread of its own, whatever the caller's runtime; moto lives as long as the thread that
        // started it.
        let thread = std::thread::Builder::new()
            .name("aws-emulator".to_owned())
            .spawn(move || run(&options, theirs, &ready, stopped))
            .map_err(|error| Fault::outside("cannot start a thread").because(error))?;
        match told.recv() {
            Ok(Ok(address)) => Ok(Self { control, address, stop: Some(stop), thread: Some(thread) }),
            Ok(Err(fault)) => {
                drop(thread.join());
                Err(fault)
            }
            Err(_) => Err(Fault::infrastructure("the emulator ended before it was ready")),
        }
    }

    /// The URL at which it answers: the value of `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that make the tool, and any other client of AWS, talk only to the emulator.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "emulator".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "emulator".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AUTOMATION_ADDRESS_URL", format!("{}/checkip", self.endpoint())),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The number of an account that no other emulator of this process has.
fn next_account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(900_000_000_001);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

type Ready = mpsc::Sender<Result<SocketAddr, Fault>>;

fn run(options: &Options, control: Arc<Control>, ready: &Ready, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(ready.send(Err(Fault::outside("cannot start the emulator").because(error))));
            return;
        }
    };
    if let Err(fault) = runtime.block_on(serve(options, control, ready, stopped)) {
        drop(ready.send(Err(fault)));
    }
}

async fn serve(
    options: &Options,
    control: Arc<Control>,
    ready: &Ready,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Fault> {
    let unwritable = |error: std::io::Error| {
        Fault::outside(format!("cannot write in `{}`", options.folder.display())).because(error)
    };
    std::fs::create_dir_all(&options.folder).map_err(unwritable)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|error| Fault::outside("cannot listen on loopback").because(error))?;
    let address = listener.local_addr().map_err(|error| Fault::outside("cannot find out the port").because(error))?;
    let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
    let machines = match options.machines {
        true => {
            let control = Arc::clone(&control);
            Some(Arc::new(Machines::new(options, address, control, ended)?))
        }
        false => None,
    };
    if let Some(machines) = &machines {
        machines.check().await?;
    }
    // An unshared server is held here until the end.
    let mut own = None;
    let (moto, account) = if options.shares_moto {
        (moto::shared()?, next_account())
    } else {
        let amis = options.folder.join("amis.json");
        std::fs::write(&amis, seeds::amis()).map_err(unwritable)?;
        let moto = own.insert(moto::Moto::start(&amis, &options.folder.join("moto.log"))?);
        (moto.address, call::ACCOUNT.to_owned())
    };
    let proxy = Arc::new(proxy::Proxy::new(control, moto, account, machines.clone()));
    let serving = tokio::spawn(Arc::clone(&proxy).serve(listener));
    drop(ready.send(Ok(address)));
    let minding = async {
        while let Some(ended) = endings.recv().await {
            proxy.ec2.handle_self_end(&proxy, &ended).await;
        }
        // Without machines, no instance ends by itself.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = stopped => {}
        () = minding => {}
    }
    serving.abort();
    if let Some(machines) = machines {
        machines.shut_down().await;
    }
    drop(own);
    Ok(())
}
