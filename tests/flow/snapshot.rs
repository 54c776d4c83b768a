//! Making an image of a machine that is up.

use std::collections::BTreeMap;

use connection::dummy::provider::ProviderCall;
use flow::image::snapshot::{remove_replaced, take, vet};
use flow::lease::Lease;
use model::base::name::ImageName;
use model::fault::FaultKind;
use model::image::{ImageRecord, SnapshotOrder};
use model::machine::Machine;

use super::Theatre;

const OWNER: &str = "ann@example";

async fn up(theatre: &Theatre) -> Machine {
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    lease.leave().await.unwrap()
}

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

async fn snapshot(theatre: &Theatre, machine: &Machine, called: &str) -> Result<ImageRecord, model::fault::Fault> {
    let (name, values) = (name(called), BTreeMap::new());
    take(&theatre.run, &theatre.site, &SnapshotOrder { machine, name: &name, distro: "debian12", values: &values })
        .await
}

#[tokio::test(start_paused = true)]
async fn an_image_is_made_once_of_each_name_and_leaves_nothing_else() {
    let theatre = Theatre::new();
    let machine = up(&theatre).await;
    let (open, store) = (theatre.open().len(), &theatre.dummy);
    let made = snapshot(&theatre, &machine, "built").await.unwrap();
    assert_eq!(made.snapshot.as_ref().map(|of| &of.machine), Some(&machine.id));
    assert_eq!(theatre.open().len(), open, "what it was made with is gone");
    let taken = vet(store, &machine, &name("built"), false, OWNER).await.unwrap_err();
    assert!(taken.hint.unwrap().contains("--replace"));
    let replaced = vet(store, &machine, &name("built"), true, OWNER).await.unwrap();
    assert_eq!(replaced, std::slice::from_ref(&made));
    let newer = snapshot(&theatre, &machine, "built").await.unwrap();
    let gone = remove_replaced(store, replaced).await.unwrap();
    assert_eq!(gone.len(), 2, "the image and its layer");
    use model::provider::ImageStore;
    assert_eq!(store.list().await.unwrap(), [newer]);
    theatre.dummy.end(&machine.id);
    assert!(vet(store, &machine, &name("other"), false, OWNER).await.is_err(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn what_fails_half_way_is_removed() {
    let theatre = Theatre::new();
    let machine = up(&theatre).await;
    let open = theatre.open().len();
    theatre.dummy.fail(ProviderCall::TakeSnapshot, "no room");
    let fault = snapshot(&theatre, &machine, "built").await.unwrap_err();
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Infrastructure, "no room"));
    assert!(fault.left.is_nothing());
    assert_eq!(theatre.open().len(), open);
}
