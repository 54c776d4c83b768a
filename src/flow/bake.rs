//! Making an image: layer by layer, each kept as soon as it is whole.

use std::time::{Duration, Instant};

use crate::base::id::MachineId;
use crate::flow::durable::Durable;
use crate::flow::lease::{Lease, release_machine, these, undo, until_stopped, write_down};
use crate::flow::lines::Lines;
use crate::flow::release::Part;
use crate::flow::{Stage, later, script};
use crate::model::connection::Connection;
use crate::model::event::Event;
use crate::model::exit::Exit;
use crate::model::fault::{Fault, Left};
use crate::model::image::{ImagePlan, ImageRecord, LayerPlan, LayerRecipe};
use crate::model::machine::{Caps, Hardware, Machine, Network};
use crate::model::price::Budget;
use crate::model::provider::{ImageStore, MachineRequest, Made};
use crate::model::task::Script;

/// The folder on the machine from which steps run and where their output is kept: memory on every machine that boots, so no
/// layer ever holds it.
const STEP_FOLDER: &str = "/run/hg-bake";

/// How to bake.
#[derive(Debug, Clone)]
pub struct Options {
    /// Leave the machine of a failed step for a look.
    pub keep_failed: bool,
    /// How long such a machine stays, and how long a step's machine may live at all.
    pub expiry: Duration,
    /// What kind of computer the steps run on.
    pub hardware: Hardware,
    /// The most that one machine may cost.
    pub max_cost: Option<Budget>,
}

/// Makes what is missing of `plan` and records the image; says at once when nothing is missing.
pub async fn bake(
    stage: &Stage,
    store: &dyn ImageStore,
    plan: &ImagePlan,
    options: &Options,
) -> Result<ImageRecord, Fault> {
    let expected = store.expected(plan).await;
    loop {
        let present = store.present(plan).await?;
        // What one machine makes: one layer, or all that are missing.
        let until = if store.keeps_whole() { plan.layers.len() } else { present + 1 };
        let Some(layers) = plan.layers.get(present..until).filter(|layers| !layers.is_empty()) else { break };
        let Some(layer) = layers.last() else { break };
        store.prepare(plan.layers.get(present..).unwrap_or_default())?;
        let _lock = until_stopped(stage, store.lock(&layer.fingerprint, stage.sink.as_ref())).await?;
        if store.present(plan).await? > present {
            continue; // Another process made it while this one waited.
        }
        let step = stage.step(match layers.len() {
            1 => told(plan, layer),
            count => format!("{}: {count} steps on one machine", plan.name),
        });
        // Less than a second is over before one has read it.
        if let Some(seconds) = expected.get(&layer.name).filter(|seconds| layers.len() == 1 && **seconds > 0) {
            stage.tell(Event::Expected(*seconds));
        }
        match &layer.recipe {
            LayerRecipe::Base(_) | LayerRecipe::Cloud(_) => base(stage, store, plan, layer).await?,
            LayerRecipe::Script { .. } => on_machine(stage, store, plan, layers, options).await?,
        }
        if store.present(plan).await? <= present {
            let fault = Fault::infrastructure(format!("the layer `{}` was made and is not there", layer.name));
            return Err(fault.hint("`automation image list` shows what there is."));
        }
        step.done(stage);
    }
    match store.record(&plan.fingerprint()).await? {
        Some(record) if record.name == plan.name => Ok(record),
        _ => store.finish(plan, stage.now()).await,
    }
}

fn told(plan: &ImagePlan, layer: &LayerPlan) -> String {
    let at = plan.layers.iter().position(|other| other == layer).unwrap_or_default();
    format!("{}: {} ({}/{})", plan.name, layer.description, at + 1, plan.layers.len())
}

async fn base(stage: &Stage, store: &dyn ImageStore, plan: &ImagePlan, layer: &LayerPlan) -> Result<(), Fault> {
    let machine = MachineId::random();
    let confirm = write_down(stage, &store.plan_base(&machine))?;
    let began = Instant::now();
    let making = store.make_base(layer, &machine, stage.grace, &confirm, stage.sink.as_ref());
    let made = match until_stopped(stage, making).await {
        Ok(()) => match release_machine(stage, &machine, Part::Running).await {
            Ok(left) if left.is_empty() => {
                let made = Made { plan, layer, machine: &machine, took: began.elapsed() };
                until_stopped(stage, store.commit(&made, stage, stage.sink.as_ref())).await.map(drop)
            }
            Ok(left) => Err(stays(&left)),
            Err(fault) => Err(fault),
        },
        Err(fault) => Err(fault),
    };
    finish(stage, &machine, made).await
}

fn stays(left: &[crate::model::resource::Resource]) -> Fault {
    Fault::infrastructure("the machine of a bake step does not end").leaving(these(left))
}

/// Releases what is left of a step's machine; a fault of the release never hides the fault of the step.
async fn finish(stage: &Stage, machine: &MachineId, made: Result<(), Fault>) -> Result<(), Fault> {
    if let Err(fault) = made {
        return Err(undo(stage, machine, fault).await);
    }
    let left = release_machine(stage, machine, Part::All).await?;
    if !left.is_empty() {
        return Err(stays(&left));
    }
    stage.journal.forget_machine(machine)
}

fn request(stage: &Stage, plan: &ImagePlan, below: usize, options: &Options) -> MachineRequest {
    let now = stage.now();
    MachineRequest {
        id: MachineId::random(),
        run: stage.run.clone(),
        owner: stage.owner.clone(),
        image: plan.name.clone(),
        layers: plan.chain(below),
        cloud: plan.cloud().cloned(),
        hardware: options.hardware.clone(),
        user: "root".to_owned(),
        network: Network::Host,
        caps: Caps::default(),
        volume: None,
        filesystem: String::new(),
        now,
        expires_at: later(now, options.expiry),
        grace: stage.grace,
        max_cost: options.max_cost,
    }
}

async fn on_machine(
    stage: &Stage,
    store: &dyn ImageStore,
    plan: &ImagePlan,
    layers: &[LayerPlan],
    options: &Options,
) -> Result<(), Fault> {
    let Some(layer) = layers.last() else { return Ok(()) };
    let below = plan.layers.iter().take_while(|other| !layers.contains(other)).count();
    let request = request(stage, plan, below, options);
    let began = Instant::now();
    let mut lease = Lease::acquire(stage, &request).await?;
    let ran = run_steps(stage, &mut lease, plan, layers).await;
    match ran {
        Ok(()) => {
            let made = match lease.stop().await {
                Ok(left) if left.is_empty() => {
                    let made = Made { plan, layer, machine: &request.id, took: began.elapsed() };
                    until_stopped(stage, store.commit(&made, stage, stage.sink.as_ref())).await.map(drop)
                }
                Ok(left) => Err(stays(&left)),
                Err(fault) => Err(fault),
            };
            finish(stage, &request.id, made).await
        }
        Err(fault) if options.keep_failed && !stage.stop.is_cancelled() => Err(keep(lease, fault).await),
        Err(fault) => {
            lease.give_up().await;
            finish(stage, &request.id, Err(fault)).await
        }
    }
}

async fn keep(lease: Lease, fault: Fault) -> Fault {
    match lease.leave().await {
        Ok(Machine { id, expires_at, .. }) => {
            let names = vec![format!("machine {id}, kept until {expires_at}")];
            let hint = format!("Look with `automation machine ssh {id}`, end it with `automation machine down {id}`.");
            fault.leaving(Left::These(names)).hint(hint)
        }
        // It could not be left, so it was released, as far as that went.
        Err(second) => {
            let why = second.line();
            Fault { left: second.left, ..fault }.hint(format!("The machine could not be kept: {why}"))
        }
    }
}

async fn run_steps(stage: &Stage, lease: &mut Lease, plan: &ImagePlan, layers: &[LayerPlan]) -> Result<(), Fault> {
    let connection = lease.connect("root").await?;
    let machine = Machine { user: "root".to_owned(), ..lease.machine.clone() };
    let durable = Durable::new(stage, &machine, Some(connection), STEP_FOLDER);
    let mut ran = Ok(());
    for layer in layers {
        let step = (layers.len() > 1).then(|| stage.step(told(plan, layer)));
        ran = run_step(stage, &durable, layer, plan.cloud().is_some()).await;
        if ran.is_err() {
            break;
        }
        if let Some(step) = step {
            step.done(stage);
        }
    }
    durable.close().await;
    ran
}

/// Runs one step; `whole` says that its image is kept with all steps or not at all.
async fn run_step(stage: &Stage, durable: &Durable, layer: &LayerPlan, whole: bool) -> Result<(), Fault> {
    let LayerRecipe::Script { text, env, limit } = &layer.recipe else {
        return Err(Fault::infrastructure(format!("bake step `{}` is no script", layer.name)));
    };
    let script = Script {
        name: format!("{}.sh", layer.name),
        text: text.clone(),
        args: Vec::new(),
        env: env.clone(),
        limit: *limit,
    };
    let mut lines = Lines::new(stage);
    let mut output = |chunk| lines.take(&chunk);
    let exit = until_stopped(stage, script::run(durable, &script, &mut output)).await;
    match exit? {
        Exit::Code(0) => Ok(()),
        exit => {
            let kind = match exit {
                Exit::Lost(_) => crate::model::fault::FaultKind::Infrastructure,
                _ => crate::model::fault::FaultKind::Outside,
            };
            let hint = match whole {
                false => "The layers below it are kept: the next try goes on from here.",
                true => "The image is kept with all its steps or not at all: the next try begins with the first.",
            };
            let fault = Fault::new(kind, format!("bake step `{}` failed with {exit}", layer.name));
            let tail = lines.tail();
            let fault = if tail.is_empty() { fault } else { fault.because(tail) };
            Err(fault.hint(format!("{hint} `--keep-failed` leaves the machine for a look.")))
        }
    }
}
