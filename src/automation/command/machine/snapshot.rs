//! `automation machine snapshot`.

use std::collections::BTreeMap;

use flow::image::collect::{Collected, Fate};
use flow::image::snapshot::{remove_replaced, take, vet};
use flow::site::Sites;
use model::base::name::ImageName;
use model::base::text;
use model::fault::Fault;
use model::image::{ImageRecord, SnapshotOrder};
use model::machine::Machine;

use crate::command::image::ImageRow;
use crate::command::machine::chosen::find;
use crate::command::session::{Ending, Session};
use crate::compose::Context;

/// The command's name in the records of runs.
pub(crate) const COMMAND: &str = "machine snapshot";

/// Make an image of the state of a machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine's id, its beginning, its name, or `latest`
    #[arg(value_name = "ID")]
    machine: String,
    /// What the image is called: small letters, digits, hyphens
    #[arg(value_name = "NAME")]
    name: ImageName,
    /// Replace an image of this name that was made of a machine
    #[arg(long)]
    replace: bool,
    /// Print the image as JSON
    #[arg(long)]
    json: bool,
}

/// Makes it.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let machine = find(&context, &args.machine)?;
    refuse_unfit(&context, &machine)?;
    refuse_name(&context, &args.name)?;
    let context = context.on(machine.provider);
    let images = context.sites.images(machine.provider);
    let replaced = vet(images.store().await?, &machine, &args.name, args.replace, &context.owner).await?;
    let session = Session::begin_on(context, COMMAND, machine.provider).await?;
    let made = make(&session, &machine, &args, replaced).await;
    session.end(made).await
}

/// Refuses a machine that has no state of ours, or none any more.
fn refuse_unfit(context: &Context, machine: &Machine) -> Result<(), Fault> {
    if machine.provider.machines_stay() {
        return Err(Fault::usage(format!("machine `{}` is somebody else's: no image can be made of it", machine.id))
            .hint("Name one that `automation machine up` has made."));
    }
    if machine.expires_at <= context.now() {
        return Err(Fault::usage(format!("machine `{}` expired at {:.0}", machine.id, machine.expires_at))
            .hint("`automation machine list` shows those that live."));
    }
    Ok(())
}

/// Refuses a name that means something already: a distribution, a definition, an image that one has or may get. The built-in ones count
/// with definitions of the user's own as well: without those the name would mean them.
fn refuse_name(context: &Context, name: &ImageName) -> Result<(), Fault> {
    let own = context.definition_names()?.into_iter().map(|of| (context.definition(&of), of));
    let built_in = project::image::names(None)?.into_iter().map(|of| (project::image::load(None, &of), of));
    for (definition, of) in own.chain(built_in) {
        if let Some(meaning) = meaning(name.as_str(), &of, &definition?.distros()) {
            return Err(Fault::usage(format!("`{name}` is {meaning}")).hint("Give another name."));
        }
    }
    Ok(())
}

/// What `name` means by the definition that is called `definition`, for `distros`.
fn meaning(name: &str, definition: &str, distros: &[String]) -> Option<String> {
    let of_images = |distro: &String| {
        let image = format!("{definition}-{distro}");
        name == image || name.starts_with(&format!("{image}-"))
    };
    if distros.iter().any(|distro| distro == name) {
        return Some("the name of a distribution".to_owned());
    }
    let is_image = definition == name || distros.iter().any(of_images);
    is_image.then(|| format!("a name of images of the definition `{definition}`"))
}

async fn make(session: &Session, machine: &Machine, args: &Args, replaced: Vec<ImageRecord>) -> Result<Ending, Fault> {
    let context = &session.context;
    let store = session.site.images.store().await?;
    let (distro, values) = of_image(context, &store.list().await?, &machine.image)?;
    let order = SnapshotOrder { machine, name: &args.name, distro: &distro, values: &values };
    let record = take(&session.run, &session.site, &order).await?;
    // What it replaces goes only when there is something in its place.
    let old = remove_replaced(store, replaced).await?;
    tell_staying(session, &old);
    let row = ImageRow::new(&record);
    if args.json {
        context.screen.json(&row);
    } else {
        context.screen.data(&format!("{}\n", record.name));
    }
    let boot = context.to_type(&format!("machine up --image {}", record.name));
    context.screen.message(&format!("`{boot}` makes a machine of it ({}).", text::bytes(row.bytes_on_top())));
    let summary = format!("{} {} of {}", record.name, record.fingerprint.short(), machine.id);
    Ok(Ending { code: 0, summary, detached: Vec::new() })
}

/// The distribution and the values of parameters of the image that is called `name`, as far as records and definitions know them.
fn of_image(
    context: &Context,
    records: &[ImageRecord],
    name: &str,
) -> Result<(String, BTreeMap<String, String>), Fault> {
    if let Some(record) = records.iter().find(|record| record.name == name)
        && let Some(snapshot) = &record.snapshot
    {
        return Ok((record.distro.clone(), snapshot.values.clone()));
    }
    let plan = context.plan_behind(name)?;
    Ok(plan.map(|plan| (plan.distro, plan.values)).unwrap_or_default())
}

/// Says which of the replaced things stay, and why.
fn tell_staying(session: &Session, old: &[Collected]) {
    for one in old {
        let why = match &one.fate {
            Fate::Goes => continue,
            Fate::InUse(machine) => format!("machine `{machine}` uses it"),
            Fate::Stays(why) => why.clone(),
        };
        let (name, id) = (&one.name, one.id.short());
        let message = format!("`{name}` {id}, which was replaced, stays until `automation image gc`: {why}");
        session.context.screen.message(&message);
    }
}
