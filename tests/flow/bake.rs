//! Making an image layer by layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connection::dummy::Reply;
use connection::dummy::provider::ProviderCall;
use flow::image::bake::{BakeOptions, bake, bake_many};
use model::event::Teller;
use model::exit::Exit;
use model::fault::{Fault, FaultKind, Leftovers};
use model::image::{BaseSpec, Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecipe};
use model::journal::MachineJournal;
use model::machine::{Hardware, Platform};
use model::provider::ImageStore;
use model::resource::ResourceKind;
use model::script::ScriptFile;
use support::keep;

use super::Theatre;

pub(crate) static OPTIONS: std::sync::LazyLock<BakeOptions> = std::sync::LazyLock::new(|| options(false));
static KEEP: std::sync::LazyLock<BakeOptions> = std::sync::LazyLock::new(|| options(true));

fn options(keep_failed: bool) -> BakeOptions {
    let keep_failed = keep_failed.then_some(Duration::from_secs(3600));
    BakeOptions { keep_failed, expiry: Duration::from_secs(7200), hardware: Hardware::default(), max_cost: None }
}

fn layer(name: &str, digit: char, recipe: LayerRecipe) -> LayerPlan {
    let fingerprint = Fingerprint(digit.to_string().repeat(64));
    LayerPlan { name: name.into(), description: format!("making {name}"), recipe, fingerprint }
}

pub(crate) fn plan() -> ImagePlan {
    let script = || LayerRecipe::Script {
        text: "true\n".into(),
        files: vec![ScriptFile::built_in("beside.txt", "beside\n")],
        env: vec![("COLOUR".into(), "deep red".into())],
        limit: Duration::from_secs(600),
    };
    let base = BaseSpec {
        family: "debian".into(),
        suite: "bookworm".into(),
        suites: vec!["bookworm".into()],
        security_suite: None,
        components: vec!["main".into()],
        packages: vec![],
    };
    ImagePlan {
        platform: Platform::Linux,
        baked_on: Platform::Linux,
        name: "linux-dev".into(),
        distro: "debian12".into(),
        values: std::collections::BTreeMap::new(),
        layers: vec![
            layer("base", 'a', LayerRecipe::Base(base)),
            layer("packages", 'b', script()),
            layer("source", 'c', script()),
        ],
    }
}

fn line(step: &str) -> String {
    format!("env 'COLOUR=deep red' bash /run/hg-bake/{step}.sh")
}

/// A theatre whose machine runs every step well, but for what a test tells it before.
pub(crate) fn theatre() -> Theatre {
    let theatre = Theatre::new();
    theatre.tasks.answer(|command| (command.program == "bash").then(Reply::ok));
    theatre
}

pub(crate) async fn bake_all(theatre: &Theatre, options: &BakeOptions) -> Result<ImageRecord, Fault> {
    bake(&theatre.run, &theatre.site, &plan(), options).await
}

/// What was made and kept, in order.
fn made(theatre: &Theatre) -> Vec<String> {
    let story = theatre.dummy.story().into_iter();
    story.filter(|line| line.starts_with("base ") || line.starts_with("commit ")).collect()
}

#[tokio::test(start_paused = true)]
async fn only_missing_layers_are_made_and_in_order() {
    let theatre = theatre();
    theatre.dummy.set_bake_seconds(7);
    let image = bake_all(&theatre, &OPTIONS).await.unwrap();
    assert_eq!(image.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["base", "packages", "source"]);
    assert_eq!(made(&theatre), ["base base", "commit base", "commit packages", "commit source"]);
    theatre.assert_clean().await;

    assert_eq!(theatre.events.count("expected "), 0, "nothing was made before");

    theatre.dummy.remove_layer(&plan().layers[2].fingerprint, false).await.unwrap();
    bake_all(&theatre, &OPTIONS).await.unwrap();
    assert_eq!(made(&theatre)[4..], ["commit source"]);
    assert_eq!(theatre.events.count("expected 7"), 1, "and so long did it take the last time");

    let story = theatre.dummy.story();
    assert_eq!(bake_all(&theatre, &OPTIONS).await.unwrap().fingerprint, image.fingerprint);
    assert_eq!(theatre.dummy.story(), story, "nothing is missing, so nothing is made");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_shows_the_end_of_its_output_and_keeps_the_layers_below() {
    let theatre = theatre();
    let output: String = (1..=50).map(|n| format!("line {n}\n")).collect();
    let reply = Reply::exit(Exit::Code(100)).stdout(output).stderr("E: no such package");
    theatre.tasks.on(line("source"), reply).on(line("source"), Reply::ok());
    let fault = bake_all(&theatre, &OPTIONS).await.unwrap_err();
    assert_eq!((fault.kind, &fault.left), (FaultKind::Outside, &Leftovers::Nothing));
    let chain = fault.chain();
    assert_eq!(chain[0], "bake step `source` failed with exit status 100");
    let tail: Vec<&str> = chain[1].lines().collect();
    assert_eq!((tail.len(), tail[0], tail[19]), (20, "line 32", "E: no such package"));
    assert_eq!(theatre.events.count("detail "), 51, "the log has all of it");
    assert!(fault.hint.unwrap().contains("--keep-failed"));
    theatre.assert_clean().await;

    bake_all(&theatre, &OPTIONS).await.unwrap();
    assert_eq!(made(&theatre), ["base base", "commit base", "commit packages", "commit source"]);
}

#[tokio::test(start_paused = true)]
async fn the_fault_of_a_step_is_not_hidden_by_what_is_left_of_its_machine() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::exit(Exit::Code(1)));
    bake_base(&theatre).await;
    theatre.dummy.refuse_release(ResourceKind::Rootfs, "busy");
    let fault = bake_all(&theatre, &OPTIONS).await.unwrap_err();
    assert_eq!(fault.message, "bake step `packages` failed with exit status 1");
    assert_eq!(fault.kind, FaultKind::Outside);
    assert!(matches!(&fault.left, Leftovers::Named(names) if names.len() == 1 && names[0].starts_with("rootfs ")));
    assert_eq!(theatre.open(), [ResourceKind::Rootfs]);
}

/// The same image under three names, with layers of their own.
fn three() -> Vec<ImagePlan> {
    let image = |name: &str, digits: [char; 3]| {
        let mut plan = ImagePlan { name: name.into(), ..plan() };
        for (layer, digit) in plan.layers.iter_mut().zip(digits) {
            layer.fingerprint = Fingerprint(digit.to_string().repeat(64));
        }
        plan
    };
    vec![image("one", ['a', 'b', 'c']), image("two", ['1', '2', '3']), image("three", ['4', '5', '6'])]
}

/// The most machines that were there at once while three images were baked, so many beside each other.
async fn most_at_once(beside: usize) -> usize {
    let mut theatre = theatre();
    let (dummy, most) = (theatre.dummy.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    theatre.watch(move |_| {
        let told = |start: &str| dummy.story().iter().filter(|line| line.starts_with(start)).count();
        let bases = told("base ");
        seen.fetch_max(1 + told("create ") + bases - told("release process "), Ordering::Relaxed);
    });
    let made = bake_many(&theatre.run, &theatre.site, &three(), beside, &OPTIONS).await.unwrap();
    let names: Vec<String> = made.into_iter().map(|record| record.unwrap().name).collect();
    assert_eq!(names, ["one", "two", "three"], "in the order of the plans");
    theatre.assert_clean().await;
    most.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn many_images_are_baked_side_by_side_up_to_a_bound() {
    for beside in [1, 2, 3] {
        assert_eq!(most_at_once(beside).await, beside);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_fails_keeps_no_other_from_being_made_and_a_stop_does() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::exit(Exit::Code(1))).on(line("packages"), Reply::ok());
    let made = bake_many(&theatre.run, &theatre.site, &three(), 1, &OPTIONS).await.unwrap();
    assert_eq!(made.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);

    let stopped = self::theatre();
    let stop = stopped.run.stop.clone();
    stopped.events.on_each(move |line| {
        if line.starts_with("step two: ") {
            stop.cancel();
        }
    });
    let made = bake_many(&stopped.run, &stopped.site, &three(), 1, &OPTIONS).await.unwrap();
    assert_eq!(made.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false], "the third had not begun");
    assert_eq!(made[1].as_ref().unwrap_err().kind, FaultKind::Interrupted);
    stopped.assert_clean().await;
}

/// Makes the lowest layer, as an earlier bake did.
async fn bake_base(theatre: &Theatre) {
    let base = ImagePlan { layers: plan().layers[..1].to_vec(), ..plan() };
    bake(&theatre.run, &theatre.site, &base, &OPTIONS).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_whose_machine_does_not_end_is_not_kept() {
    let theatre = theatre();
    bake_base(&theatre).await;
    theatre.dummy.refuse_release(ResourceKind::Process, "in uninterruptible sleep");
    let fault = bake_all(&theatre, &OPTIONS).await.unwrap_err();
    assert_eq!(fault.message, "the machine of a bake step does not end");
    assert!(matches!(&fault.left, Leftovers::Named(names) if names[0].starts_with("process ")), "{:?}", fault.left);
    assert_eq!(made(&theatre), ["base base", "commit base"]);
    assert_eq!(theatre.open(), [ResourceKind::Process]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_cannot_be_kept_releases_its_machine() {
    let theatre = theatre();
    bake_base(&theatre).await;
    theatre.dummy.fail(ProviderCall::Commit, "no space left on device");
    let fault = bake_all(&theatre, &OPTIONS).await.unwrap_err();
    assert_eq!(fault.message, "no space left on device");
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn keep_failed_leaves_the_machine_and_says_so() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::exit(Exit::Code(1)).stderr("oops\n"));
    let fault = bake_all(&theatre, &KEEP).await.unwrap_err();
    assert_eq!(fault.chain(), ["bake step `packages` failed with exit status 1", "oops"]);
    let machines = theatre.journal.machines().unwrap();
    let [machine] = machines.as_slice() else { panic!("{machines:?}") };
    assert!(machine.kept);
    assert_eq!(theatre.open().len(), 4, "its rows stay open");
    assert_eq!(theatre.dummy.lease(&machine.id), Some(machine.expires_at));
    assert_eq!(
        fault.left,
        Leftovers::Named(vec![format!("machine {}, kept until 2026-11-20T13:00:00Z", machine.words())])
    );
    assert!(machine.name.is_some(), "it is named as other machines are");
    assert!(fault.hint.unwrap().contains(&format!("`automation machine ssh {}`", machine.called())));
}

#[tokio::test(start_paused = true)]
async fn a_failed_machine_that_cannot_be_kept_is_released() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::exit(Exit::Code(1)));
    theatre.dummy.fail(ProviderCall::Renew, "read-only file system");
    let fault = bake_all(&theatre, &KEEP).await.unwrap_err();
    assert_eq!(fault.message, "bake step `packages` failed with exit status 1");
    assert_eq!(fault.left, Leftovers::Nothing);
    assert!(fault.hint.unwrap().contains("could not be kept: read-only file system"));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_another_bake_takes_its_layer() {
    let theatre = theatre();
    let base = plan().layers[0].clone();
    let held = theatre.dummy.lock(&base.fingerprint, &Teller::silent()).await.unwrap();
    let other = async {
        // Runs once the bake below waits.
        let machine = model::base::id::MachineId::random();
        let teller = Teller::silent();
        theatre.dummy.make_base(&base, &machine, super::GRACE, &|_, _, _| Ok(()), &teller).await.unwrap();
        keep::commit(&theatre.dummy, &base, &machine, Duration::ZERO).await.unwrap();
        theatre.dummy.end(&machine);
        drop(held);
    };
    let (image, ()) = tokio::join!(bake_all(&theatre, &OPTIONS), other);
    image.unwrap();
    assert_eq!(theatre.events.count("notice Another process makes the layer `aaaaaaaaaaaa`"), 1);
    assert_eq!(made(&theatre), ["base base", "commit base", "commit packages", "commit source"]);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_bake_can_be_interrupted() {
    let theatre = theatre();
    let _held = theatre.dummy.lock(&plan().layers[0].fingerprint, &Teller::silent()).await.unwrap();
    let stop = theatre.run.stop.clone();
    theatre.events.on_each(move |line| {
        if line.starts_with("notice Another process") {
            stop.cancel();
        }
    });
    assert_eq!(bake_all(&theatre, &OPTIONS).await.unwrap_err().kind, FaultKind::Interrupted);
    assert_eq!(theatre.rows(), []);
}

#[tokio::test(start_paused = true)]
async fn a_base_that_fails_leaves_nothing() {
    let theatre = theatre();
    theatre.dummy.fail(ProviderCall::MakeBase, "mirror `http://m` does not answer");
    let fault = bake_all(&theatre, &KEEP).await.unwrap_err();
    assert_eq!(fault.message, "mirror `http://m` does not answer");
    assert_eq!(theatre.released(), ["process", "rootfs"]);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_step_keeps_no_machine_whatever_was_asked() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::ok().stdout("unpacking\n").hang());
    let stop = theatre.run.stop.clone();
    theatre.events.on_each(move |line| {
        if line == "detail unpacking" {
            stop.cancel();
        }
    });
    let fault = bake_all(&theatre, &KEEP).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Interrupted);
    assert_eq!(made(&theatre), ["base base", "commit base"]);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_hangs_is_ended_by_its_limit() {
    let theatre = theatre();
    theatre.tasks.on(line("packages"), Reply::ok().stdout("waiting for the lock\n").hang());
    let fault = bake_all(&theatre, &OPTIONS).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Infrastructure);
    assert_eq!(fault.message, "bake step `packages` failed with lost: waited 600s for `packages.sh` to end");
    assert_eq!(fault.chain()[1], "waiting for the lock");
    theatre.assert_clean().await;
}
