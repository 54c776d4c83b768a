//! Baking the stand-in for Windows machines, step by step as the tool does: each step on a machine of its own, whose files become a layer.

use std::time::Duration;

use connection::ssh::SshConnector;
use jiff::Timestamp;
use local::images::LocalImages;
use local::{LocalConfig, LocalProvider};
use model::base::id::{MachineId, RunId};
use model::connection::Connector;
use model::event::Teller;
use model::exit::Exit;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::{ImagePlan, LayerPlan, LayerRecipe};
use model::machine::{Caps, Hardware, Machine, Network, Platform};
use model::output::{OutputLimits, run_command};
use model::provider::{ImageStore, MachineRequest, MadeLayer, Provider};
use model::resource::ResourceKind;
use model::task::Command;
use project::image::{BaseChoice, ImageChoice};

use super::bases::{NoLedger, release};
use super::life::{CONNECT_LIMIT, GRACE, renew_lease};

/// The folder of a step's files on its machine.
const FOLDER: &str = "/root/bake";

/// How much of a step's output is kept.
const OUTPUT_CAP: usize = 1 << 20;

/// The longest life of a step's machine.
const LIFE: Duration = Duration::from_secs(3600);

/// The plan of the stand-in.
pub(super) fn plan() -> Result<ImagePlan, Fault> {
    let definition = project::image::load(None, "windows-standin")?;
    let distro = definition.distro_for(None, "debian13").to_owned();
    definition.plan(&ImageChoice::new(BaseChoice::Userland, &distro))
}

/// The request for a machine that runs the step above the lowest `below` layers of `plan`.
fn request(plan: &ImagePlan, below: usize) -> MachineRequest {
    let now = Timestamp::now();
    MachineRequest {
        platform: Platform::Linux,
        id: MachineId::random(),
        run: RunId::new(now),
        owner: "aws-emulator".to_owned(),
        image: plan.name.clone(),
        layers: plan.chain(below),
        cloud: None,
        snapshot: false,
        hardware: Hardware::default(),
        user: "root".to_owned(),
        network: Network::Host,
        caps: Caps::default(),
        volume: None,
        filesystem: Filesystem::Default,
        now,
        expires_at: now + LIFE,
        grace: GRACE,
        max_cost: None,
        idle: None,
    }
}

/// Makes one layer of scripts; those below it are there.
pub(super) async fn make(config: &LocalConfig, plan: &ImagePlan, below: usize) -> Result<(), Fault> {
    let Some(layer) = plan.layers.get(below) else { return Ok(()) };
    let provider = LocalProvider::new(config.clone());
    let request = request(plan, below);
    let planned = provider.plan(&request);
    let ran = match provider.create(&request, &|_, _, _| Ok(()), &Teller::silent()).await {
        Ok(machine) => tokio::select! {
            ran = run(&machine, layer) => ran,
            fault = renew_lease(&provider, &machine) => Err(fault),
        },
        Err(fault) => Err(fault),
    };
    let made = match ran {
        Ok(()) => {
            let processes = planned.iter().filter(|planned| planned.kind == ResourceKind::Process).cloned().collect();
            release(&provider, processes).await?;
            let made = MadeLayer { plan, layer, machine: &request.id, took: Duration::ZERO };
            LocalImages::new(config.clone()).commit(&made, &NoLedger, &Teller::silent()).await.map(drop)
        }
        Err(fault) => Err(fault),
    };
    release(&provider, planned).await?;
    made
}

/// Runs the script of a layer on its machine.
async fn run(machine: &Machine, layer: &LayerPlan) -> Result<(), Fault> {
    let LayerRecipe::Script { text, files, env, limit } = &layer.recipe else {
        return Err(Fault::infrastructure(format!("the layer `{}` is not a script", layer.name)));
    };
    let connection = SshConnector::default().connect(machine, "root", CONNECT_LIMIT, true).await?;
    let limits = |time| OutputLimits { bytes: OUTPUT_CAP, time };
    let folder = Command::new("mkdir").args(["-p", FOLDER]);
    run_command(connection.as_ref(), &folder, limits(CONNECT_LIMIT)).await?;
    let script = format!("{FOLDER}/{}.sh", layer.name);
    for file in files {
        connection.write_file(&format!("{FOLDER}/{}", file.name), file.text.as_bytes(), 0o644).await?;
    }
    connection.write_file(&script, text.as_bytes(), 0o755).await?;
    let command = Command { env: env.clone(), ..Command::new("bash").arg(&script) }.stdin(Vec::new());
    let done = run_command(connection.as_ref(), &command, limits(*limit)).await?;
    let gone = Command::new("rm").args(["-rf", FOLDER]);
    run_command(connection.as_ref(), &gone, limits(CONNECT_LIMIT)).await?;
    connection.close().await;
    match done.exit {
        Exit::Code(0) => Ok(()),
        _ => Err(Fault::outside(format!("cannot make the stand-in for Windows: its step `{}` failed", layer.name))
            .because(done.ending())),
    }
}
