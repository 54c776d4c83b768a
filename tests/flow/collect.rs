//! Collecting old images, with no command.

use std::collections::BTreeSet;

use flow::image::collect::{Collection, Fate, Rule, What, collect};
use model::build::BuildStore;
use model::fault::Fault;
use model::image::Fingerprint;
use model::provider::ImageStore;

use super::Theatre;
use super::bake::{OPTIONS, bake_all, plan, theatre};
use super::builds::Kept;

/// A build on the image of [`plan`], and one on another.
const BUILDS: [&str; 2] = ["cccccccccccc-system3-x", "dddddddddddd-system3-x"];

const RULE: Rule = Rule { all: false, keep: 0, owner: None, set_ups: None };

/// An image, as baked, and the builds.
async fn baked() -> (Theatre, Kept) {
    let (theatre, builds) = (theatre(), Kept::default());
    bake_all(&theatre, &OPTIONS).await.unwrap();
    for key in BUILDS {
        builds.keep(key, b"packed").unwrap();
    }
    (theatre, builds)
}

async fn gc(
    theatre: &Theatre,
    builds: &Kept,
    current: &[Fingerprint],
    rule: &Rule,
    dry_run: bool,
) -> Result<Collection, Fault> {
    let current: BTreeSet<Fingerprint> = current.iter().cloned().collect();
    collect(&theatre.dummy, builds, &current, rule, dry_run).await
}

fn told(done: &Collection) -> Vec<(What, &str, &Fate)> {
    done.collected.iter().map(|one| (one.what, one.name.as_str(), &one.fate)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_image_goes_with_its_own_layers_and_builds_and_a_look_removes_nothing() {
    let (theatre, builds) = baked().await;
    // Today's definition has the lowest layer, and another one on it.
    let current = [plan().layers[0].fingerprint.clone(), Fingerprint("e".repeat(64))];
    let (look, goes) = (gc(&theatre, &builds, &current, &RULE, true).await.unwrap(), &Fate::Goes);
    let wanted = [
        (What::Image, "linux-dev", goes),
        (What::Layer, "packages", goes),
        (What::Layer, "source", goes),
        (What::Build, BUILDS[0], goes),
    ];
    assert_eq!(told(&look), wanted);
    assert_eq!((theatre.dummy.list().await.unwrap().len(), builds.list().unwrap().len()), (1, 2));

    let done = gc(&theatre, &builds, &current, &RULE, false).await.unwrap();
    assert_eq!(told(&done), wanted);
    assert!(done.left.is_none() && theatre.dummy.list().await.unwrap().is_empty());
    let layers = theatre.dummy.layers().await.unwrap();
    assert_eq!(layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["base"]);
    assert_eq!(builds.list().unwrap().iter().map(|build| build.key.as_str()).collect::<Vec<_>>(), [BUILDS[1]]);
    assert_eq!(told(&gc(&theatre, &builds, &current, &RULE, false).await.unwrap()), []);
}

#[tokio::test(start_paused = true)]
async fn what_todays_definitions_give_stays_but_where_everything_goes() {
    let (theatre, builds) = baked().await;
    let current: Vec<Fingerprint> = plan().layers.into_iter().map(|layer| layer.fingerprint).collect();
    assert_eq!(told(&gc(&theatre, &builds, &current, &RULE, false).await.unwrap()), []);
    let all = Rule { all: true, ..RULE };
    assert_eq!(gc(&theatre, &builds, &current, &all, false).await.unwrap().collected.len(), 1 + 3 + 2);
}
