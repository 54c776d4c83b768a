//! Making an image: layer by layer, each kept as soon as it is whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use model::base::id::MachineId;
use model::connection::Connection;
use model::event::{StepEvent, Subject};
use model::exit::Exit;
use model::fault::{Fault, Leftovers};
use model::image::{ImagePlan, ImageRecord, LayerPlan, LayerRecipe};
use model::machine::{Hardware, Machine, Network};
use model::price::Budget;
use model::provider::{MachineRequest, MadeLayer};
use model::script::Script;
use model::work::Work;

use crate::lease::{Lease, foresee, name_left, release_machine, undo, until_stopped, write_down};
use crate::order::Order;
use crate::release::ReleaseScope;
use crate::run::{Run, saturating_add};
use crate::site::Site;
use crate::task::durable::Durable;
use crate::task::lines::Lines;
use crate::task::script;

/// How to bake.
#[derive(Debug, Clone)]
pub struct BakeOptions {
    /// How long the machine of a failed step stays, to be looked at; none for not at all.
    pub keep_failed: Option<Duration>,
    /// How long a step's machine may live at most, kept or not.
    pub expiry: Duration,
    /// The kind of computer that the steps run on.
    pub hardware: Hardware,
    /// The most that one machine may cost.
    pub max_cost: Option<Budget>,
}

/// The request for a machine that `order` wants, once its image is there: the image is baked where it is missing. What
/// will be refused is refused before that.
pub async fn request_with_image(
    run: &Run,
    site: &Site,
    plan: Option<&ImagePlan>,
    options: &BakeOptions,
    order: &Order,
) -> Result<MachineRequest, Fault> {
    foresee(run, site, &order.request(run, run.now())).await?;
    if let Some(plan) = plan {
        bake(run, site, plan, options).await?;
    }
    // Baking takes minutes: a lease from before it would be over.
    Ok(order.request(run, run.now()))
}

/// Makes the missing layers of `plan` and records the image; returns at once if none is missing.
pub async fn bake(run: &Run, site: &Site, plan: &ImagePlan, options: &BakeOptions) -> Result<ImageRecord, Fault> {
    let run = &run.about(Subject::Image(plan.name.clone()));
    let store = site.images.store().await?;
    let expected = store.expected_seconds(plan).await;
    loop {
        let present = store.count_present(plan).await?;
        // One machine makes one layer, or all that are missing.
        let until = if store.keeps_whole() { plan.layers.len() } else { present + 1 };
        let Some(layers) = plan.layers.get(present..until).filter(|layers| !layers.is_empty()) else { break };
        let Some(layer) = layers.last() else { break };
        if layer_is_gone(layers) {
            return Err(Fault::outside(format!(
                "the image `{}` is the state of a machine, and is not whole any more",
                plan.name
            ))
            .hint("It cannot be made again: `automation image rm` removes what is left of it."));
        }
        store.prepare(plan.layers.get(present..).unwrap_or_default())?;
        let _lock = until_stopped(run, store.lock(&layer.fingerprint, &run.teller)).await?;
        if store.count_present(plan).await? > present {
            continue; // Another process made it while this one waited.
        }
        let step = run.teller.begin(match layers.len() {
            1 => work(plan, layer),
            count => Work::BakingLayers { image: plan.name.clone(), count },
        });
        // A step of less than a second is over before anybody has read this.
        if let Some(seconds) = expected.get(&layer.name).filter(|seconds| layers.len() == 1 && **seconds > 0) {
            run.tell(StepEvent::Expected { took: Duration::from_secs(*seconds) });
        }
        match &layer.recipe {
            LayerRecipe::Base(_) | LayerRecipe::Cloud(_) => make_base_layer(run, site, plan, layer).await?,
            LayerRecipe::Script { .. } | LayerRecipe::Taken => {
                bake_on_machine(run, site, plan, layers, options).await?
            }
        }
        if store.count_present(plan).await? <= present {
            let fault = Fault::infrastructure(format!("the layer `{}` was made and is not there", layer.name));
            return Err(fault.hint("`automation image list` shows what there is."));
        }
        step.finish();
    }
    match store.record(&plan.fingerprint()).await? {
        Some(record) if record.name == plan.name => Ok(record),
        _ => store.finish(plan, run.now()).await,
    }
}

/// Bakes `plans`, at most `beside` of them at the same time, and gives the result of each, in their order. A plan that
/// fails does not stop the others; plans that had not begun when the run was stopped are left out. Fails before
/// anything is made if the hardware is refused.
pub async fn bake_many(
    run: &Run,
    site: &Site,
    plans: &[ImagePlan],
    beside: usize,
    options: &BakeOptions,
) -> Result<Vec<Result<ImageRecord, Fault>>, Fault> {
    until_stopped(run, site.vet(&options.hardware)).await?;
    let stopped = &AtomicBool::new(false);
    let bakes = plans.iter().map(|plan| async move {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        let result = bake(run, site, plan, options).await;
        if result.is_err() && run.stop.is_cancelled() {
            stopped.store(true, Ordering::Relaxed);
        }
        Some(result)
    });
    let results: Vec<_> = stream::iter(bakes).buffered(beside.max(1)).collect().await;
    Ok(results.into_iter().flatten().collect())
}

/// Whether one of the missing `layers` cannot be made.
fn layer_is_gone(layers: &[LayerPlan]) -> bool {
    layers.iter().any(|layer| layer.recipe == LayerRecipe::Taken)
}

fn work(plan: &ImagePlan, layer: &LayerPlan) -> Work {
    let at = plan.layers.iter().position(|other| other == layer).unwrap_or_default();
    let (image, layer) = (plan.name.clone(), layer.description.clone());
    Work::BakingLayer { image, layer, number: at + 1, of: plan.layers.len() }
}

async fn make_base_layer(run: &Run, site: &Site, plan: &ImagePlan, layer: &LayerPlan) -> Result<(), Fault> {
    let (store, ledger) = (site.images.store().await?, run.ledger(site.provider.kind()));
    let machine = MachineId::random();
    let confirm = write_down(run, site.provider.kind(), &store.plan_base(&machine))?;
    let began = Instant::now();
    let making = store.make_base(layer, &machine, site.grace, &confirm, &run.teller);
    let made = match until_stopped(run, making).await {
        Ok(()) => match release_machine(run, site, &machine, ReleaseScope::Running).await {
            Ok(left) if left.is_empty() => {
                let made = MadeLayer { plan, layer, machine: &machine, took: began.elapsed() };
                until_stopped(run, store.commit(&made, &ledger, &run.teller)).await.map(drop)
            }
            Ok(left) => Err(unended(&left)),
            Err(fault) => Err(fault),
        },
        Err(fault) => Err(fault),
    };
    finish(run, site, &machine, made).await
}

fn unended(left: &[model::resource::Resource]) -> Fault {
    Fault::infrastructure("the machine of a bake step does not end").with_leftovers(name_left(left))
}

/// Releases what is left of a step's machine; a fault of the release never hides the fault of the step.
async fn finish(run: &Run, site: &Site, machine: &MachineId, made: Result<(), Fault>) -> Result<(), Fault> {
    if let Err(fault) = made {
        return Err(undo(run, site, machine, fault).await);
    }
    let left = release_machine(run, site, machine, ReleaseScope::All).await?;
    if !left.is_empty() {
        return Err(unended(&left));
    }
    run.journal.forget_machine(machine)
}

/// The machine of a step, which boots from the layers `below`. Packages come over the network.
fn order(site: &Site, plan: &ImagePlan, below: usize, options: &BakeOptions) -> Order {
    let administrator = guest::of(plan.baked_on).administrator();
    Order {
        hardware: options.hardware.clone(),
        network: Network::Host,
        max_cost: options.max_cost,
        platform: plan.baked_on,
        ..Order::new(plan.name.clone(), administrator, options.expiry, site.grace).boot_from(plan, below)
    }
}

async fn bake_on_machine(
    run: &Run,
    site: &Site,
    plan: &ImagePlan,
    layers: &[LayerPlan],
    options: &BakeOptions,
) -> Result<(), Fault> {
    let Some(layer) = layers.last() else { return Ok(()) };
    let below = plan.layers.iter().take_while(|other| !layers.contains(other)).count();
    let request = order(site, plan, below, options).request(run, run.now());
    let began = Instant::now();
    let mut lease = Lease::acquire(run, site, &request).await?;
    let ran = run_steps(run, site, &mut lease, plan, layers).await;
    match ran {
        Ok(()) => {
            let made = match lease.stop().await {
                Ok(left) if left.is_empty() => {
                    let made = MadeLayer { plan, layer, machine: &request.id, took: began.elapsed() };
                    let (store, ledger) = (site.images.store().await?, run.ledger(site.provider.kind()));
                    until_stopped(run, store.commit(&made, &ledger, &run.teller)).await.map(drop)
                }
                Ok(left) => Err(unended(&left)),
                Err(fault) => Err(fault),
            };
            finish(run, site, &request.id, made).await
        }
        Err(fault) => match options.keep_failed.filter(|_| !run.stop.is_cancelled()) {
            Some(span) => Err(keep(run, lease, span, fault).await),
            None => {
                lease.give_up().await;
                finish(run, site, &request.id, Err(fault)).await
            }
        },
    }
}

async fn keep(run: &Run, mut lease: Lease, span: Duration, fault: Fault) -> Fault {
    // What it was told at its launch of its end holds whatever comes later.
    lease.machine.expires_at = saturating_add(run.now(), span).min(lease.machine.expires_at);
    match lease.leave().await {
        Ok(machine) => {
            let (called, expires_at) = (machine.called(), machine.expires_at);
            let names = vec![format!("machine {}, kept until {expires_at}", machine.words())];
            let hint =
                format!("Look with `automation machine ssh {called}`, end it with `automation machine down {called}`.");
            fault.with_leftovers(Leftovers::Named(names)).hint(hint)
        }
        // The machine could not be left, so it was released, as far as that went.
        Err(second) => {
            let why = second.line();
            Fault { left: second.left, ..fault }.hint(format!("The machine could not be kept: {why}"))
        }
    }
}

async fn run_steps(
    run: &Run,
    site: &Site,
    lease: &mut Lease,
    plan: &ImagePlan,
    layers: &[LayerPlan],
) -> Result<(), Fault> {
    let administrator = guest::of(plan.baked_on).administrator();
    let connection = lease.connect(administrator).await?;
    let machine = Machine { user: administrator.to_owned(), ..lease.machine.clone() };
    let folder = guest::of(machine.platform).bake_folder();
    let durable = Durable::new(run, site, &machine, Some(connection), folder);
    let mut ran = Ok(());
    for layer in layers {
        let step = (layers.len() > 1).then(|| run.teller.begin(work(plan, layer)));
        ran = run_step(run, &durable, layer, plan.cloud().is_some()).await;
        if ran.is_err() {
            break;
        }
        if let Some(step) = step {
            step.finish();
        }
    }
    durable.close().await;
    ran
}

/// Runs one step; `whole` says that its image is kept with all steps or not at all.
async fn run_step(run: &Run, durable: &Durable, layer: &LayerPlan, whole: bool) -> Result<(), Fault> {
    let LayerRecipe::Script { text, files, env, limit } = &layer.recipe else {
        return Err(Fault::infrastructure(format!("bake step `{}` is not a script", layer.name)));
    };
    let script = Script {
        name: durable.guest().script_name(&layer.name),
        text: text.clone(),
        files: files.clone(),
        args: Vec::new(),
        env: env.clone(),
        limit: *limit,
    };
    let mut lines = Lines::new(run);
    let mut output = |chunk| lines.take(&chunk);
    let exit = until_stopped(run, script::run(durable, &script, &mut output)).await;
    match exit? {
        Exit::Code(0) => Ok(()),
        exit => {
            let kind = match exit {
                Exit::Lost(_) => model::fault::FaultKind::Infrastructure,
                _ => model::fault::FaultKind::Outside,
            };
            let hint = match whole {
                false => "The layers below it are kept: the next try goes on from here.",
                true => "The image is kept with all its steps or not at all: the next try begins with the first.",
            };
            let fault = Fault::new(kind, format!("bake step `{}` failed with {exit}", layer.name));
            let tail = lines.tail();
            let trust = guest::trust::advice(&tail).map(|advice| format!("{advice} ")).unwrap_or_default();
            let fault = if tail.is_empty() { fault } else { fault.because(tail) };
            Err(fault.hint(format!("{trust}{hint} `--keep-failed` leaves the machine for a look.")))
        }
    }
}
