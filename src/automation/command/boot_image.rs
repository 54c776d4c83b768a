//! The image that machines boot from, by the name that a user gives: one that a definition describes, or the state of a machine that was made
//! an image by `machine snapshot`.

use flow::site::Sites;
use model::base::text;
use model::fault::Fault;
use model::image::{ImagePlan, ImageRecord};
use model::machine::ProviderKind;
use project::image::{Definition, SetUp};

use crate::command::image::is_called;
use crate::compose::Context;

/// An image by its name.
pub enum BootImage<'a> {
    /// One that a definition describes, for what is chosen of it.
    Definition(Box<Definition>),
    /// The state of a machine.
    Snapshot(&'a ImageRecord),
}

/// The images that names may mean, of each provider that machines come from.
#[derive(Debug, Default)]
pub struct BootImages {
    snapshots: Vec<(ProviderKind, Vec<ImageRecord>)>,
}

impl BootImages {
    /// Those that `names` may mean on machines of `kinds`. A provider's store is asked only where one of them is no definition's.
    pub async fn of(
        context: &Context,
        kinds: &[ProviderKind],
        names: impl IntoIterator<Item = &str>,
    ) -> Result<Self, Fault> {
        let definitions = context.definition_names()?;
        let mut images = Self::default();
        if names.into_iter().all(|name| definitions.iter().any(|known| known == name)) {
            return Ok(images);
        }
        for kind in kinds.iter().filter(|kind| **kind != ProviderKind::Host) {
            let mut records = context.sites.images(*kind).store().await?.list().await?;
            records.retain(|record| record.snapshot.is_some());
            // Of several people's the user's own is meant.
            records.sort_by_key(|record| record.owner.as_ref().is_some_and(|owner| *owner != context.owner));
            images.snapshots.push((*kind, records));
        }
        Ok(images)
    }

    /// The image that is called `name`, for a machine of `kind`.
    pub fn get(&self, context: &Context, kind: ProviderKind, name: &str) -> Result<BootImage<'_>, Fault> {
        let of_kind = self.snapshots.iter().filter(|(of, _)| *of == kind);
        let snapshots: Vec<&ImageRecord> = of_kind.flat_map(|(_, records)| records).collect();
        let fault = match context.definition(name) {
            Ok(definition) => return Ok(BootImage::Definition(Box::new(definition))),
            Err(fault) if context.definition_names()?.iter().any(|known| known == name) => return Err(fault),
            Err(fault) => fault,
        };
        match snapshots.iter().find(|record| is_called(record, name)) {
            Some(record) => Ok(BootImage::Snapshot(record)),
            None if snapshots.is_empty() => Err(fault),
            None => {
                let names = text::distinct(snapshots.iter().map(|record| record.name.clone()));
                Err(Fault {
                    message: format!("{}, and no snapshot of that name ({})", fault.message, names.join(", ")),
                    ..fault
                })
            }
        }
    }
}

/// The plan of a machine that boots the state of another, with what root does once to it. What is chosen of a definition has no meaning
/// there: `given` are such options, each with whether it was given.
pub fn plan_of_snapshot(
    record: &ImageRecord,
    set_up: Option<&SetUp>,
    kind: ProviderKind,
    given: &[(&str, bool)],
) -> Result<ImagePlan, Fault> {
    let name = &record.name;
    if let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) {
        return Err(Fault::usage(format!("{option} has no meaning with `{name}`, which is the state of a machine"))
            .hint("Leave it out, or name a definition."));
    }
    let plan = record.snapshot_plan().ok_or_else(|| Fault::usage(format!("`{name}` is not the state of a machine")))?;
    match set_up {
        None => Ok(plan),
        // An image of an account ends with steps that leave no login: those of its definition are not known here.
        Some(_) if kind == ProviderKind::Ec2 => Err(Fault::usage(format!(
            "on Amazon EC2 nothing can be set up on `{name}`, which is the state of a machine"
        ))
        .hint("Do it on a machine of it, and make that an image with `automation machine snapshot`.")),
        Some(set_up) => Ok(set_up.upon(plan)),
    }
}
