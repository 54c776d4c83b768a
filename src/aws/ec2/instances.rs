//! Describing, awaiting and terminating instances, and reading their console.

use std::time::Duration;

use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::describe_instance_types::DescribeInstanceTypesError;
use aws_sdk_ec2::types::{ArchitectureType, Filter, Instance, InstanceStateName, InstanceType, InstanceTypeInfo};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::base::deadline::{Deadline, Pace};
use model::base::id::MachineId;
use model::base::text;
use model::fault::Fault;

use crate::ec2::filters;
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// How many instances a page holds; the API's own limit.
const PAGE: i32 = 1000;

/// How many instances one call ends; the most that the API takes.
pub(crate) const BATCH: usize = 1000;

/// How long an instance may take to get an address. That takes seconds; the rest is room for a slow region.
pub(crate) const ADDRESS_LIMIT: Duration = Duration::from_secs(300);

/// How long a new id may be unknown. The longest time observed was three seconds.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(60);

/// The first and the longest pause between two polls of a new instance.
const ADDRESS_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The pause between two polls of an instance while a connection to it is being made. Most answer within a minute.
const ENDED_PAUSE: Duration = Duration::from_secs(10);

/// How long an instance may take to end. Half a minute is usual; programs that run on it may be slow to stop. The
/// SDK's own waiter allows ten minutes.
pub(crate) const END_LIMIT: Duration = Duration::from_secs(600);

/// The first and the longest pause between two polls of an instance that ends.
const END_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// How many lines of the end of a console an error shows.
const CONSOLE_LINES: usize = 40;

/// The state of an instance.
pub(crate) fn state(instance: &Instance) -> InstanceStateName {
    let state = instance.state().and_then(|state| state.name().cloned());
    state.unwrap_or(InstanceStateName::Pending)
}

/// All instances that match `filter` and have not ended.
pub(crate) async fn find(ec2: &aws_sdk_ec2::Client, filter: Filter) -> Result<Vec<Instance>, Fault> {
    find_all(ec2, vec![filter]).await
}

/// All instances that match every one of `filters` and have not ended.
pub(crate) async fn find_all(ec2: &aws_sdk_ec2::Client, filters: Vec<Filter>) -> Result<Vec<Instance>, Fault> {
    let pages = ec2.describe_instances().set_filters(Some(filters)).max_results(PAGE).into_paginator();
    let found = pages.items().send().collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| trouble::fault("list instances", error))?;
    let instances = found.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default());
    Ok(instances.filter(|instance| state(instance) != InstanceStateName::Terminated).collect())
}

/// The instance `id` as it is now; `None` if EC2 does not know it (yet, or any more).
pub(crate) async fn get(ec2: &aws_sdk_ec2::Client, id: &str) -> Result<Option<Instance>, Fault> {
    match ec2.describe_instances().instance_ids(id).send().await {
        Ok(found) => Ok(found.reservations.into_iter().flatten().flat_map(|r| r.instances.unwrap_or_default()).next()),
        Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
        Err(error) => Err(trouble::fault(&format!("look at the instance `{id}`"), error)),
    }
}

/// Waits until the instance has a public address; it may still be pending, because connecting can start at once.
///
/// A `managed` instance is reached by its id: it is enough that EC2 knows it.
pub(crate) async fn until_address(
    ec2: &aws_sdk_ec2::Client,
    id: &str,
    managed: bool,
) -> Result<(Instance, Option<String>), Fault> {
    let deadline = Deadline::after(ADDRESS_LIMIT, format!("the instance `{id}` to have a public address"));
    let unknown = Deadline::after(UNKNOWN_LIMIT, format!("EC2 to know the instance `{id}`"));
    let mut pace = Pace::new(ADDRESS_PAUSES);
    loop {
        let seen = deadline.bound(get(ec2, id)).await??;
        match seen {
            Some(instance) if is_ending(&state(&instance)) => return Err(ended_fault(ec2, id, &instance).await),
            Some(instance) => {
                let address = instance.public_ip_address().filter(|address| !address.is_empty()).map(str::to_owned);
                match address {
                    address if managed || address.is_some() => return Ok((instance, address)),
                    _ if state(&instance) == InstanceStateName::Running => return Err(no_address(id, &instance)),
                    _ => {}
                }
            }
            None if unknown.remaining().is_zero() => return Err(unknown.expired().into()),
            None => {}
        }
        deadline.bound(pace.pause()).await?;
    }
}

/// Returns when the instance ends, with EC2's reason. Calls that fail meanwhile say nothing about the instance.
pub(crate) async fn until_ended(ec2: &aws_sdk_ec2::Client, id: &str) -> Fault {
    loop {
        tokio::time::sleep(ENDED_PAUSE).await;
        match get(ec2, id).await {
            Ok(Some(instance)) if is_ending(&state(&instance)) => return ended_fault(ec2, id, &instance).await,
            _ => {}
        }
    }
}

/// Returns when there is no instance of `machine`, which another process made, any more. One empty answer is not
/// enough, because lists lag behind.
pub(crate) async fn until_none(ec2: &aws_sdk_ec2::Client, machine: &MachineId) -> Fault {
    let mut empty = 0;
    while empty < 2 {
        tokio::time::sleep(ENDED_PAUSE).await;
        match find(ec2, filters::match_tag(tags::MACHINE, machine.as_str())).await {
            Ok(found) if found.is_empty() => empty += 1,
            Ok(_) => empty = 0,
            Err(_) => {}
        }
    }
    Fault::infrastructure(format!("the instance of {machine} has ended"))
}

fn is_ending(state: &InstanceStateName) -> bool {
    !matches!(state, InstanceStateName::Pending | InstanceStateName::Running)
}

fn no_address(id: &str, instance: &Instance) -> Fault {
    let subnet = instance.subnet_id().unwrap_or("its subnet");
    Fault::outside(format!("the instance `{id}` was given no public address"))
        .hint(format!("Let `{subnet}` assign public addresses, which default subnets do."))
}

/// The fault for an instance that ended before it could be used.
async fn ended_fault(ec2: &aws_sdk_ec2::Client, id: &str, instance: &Instance) -> Fault {
    let reason = instance.state_reason().and_then(|reason| reason.message().or(reason.code()));
    let state = state(instance);
    let fault = Fault::infrastructure(format!("the instance `{id}` is {state} before it could be reached"))
        .because(reason.unwrap_or("EC2 gives no reason").to_owned());
    match console(ec2, id).await {
        Some(console) => fault.hint(format!("The machine's own last words:\n{console}")),
        None => fault,
    }
}

/// Refuses types that `region` does not have, or whose processors our images are not made for.
pub(crate) async fn vet(ec2: &aws_sdk_ec2::Client, region: &str, types: &[String]) -> Result<(), Fault> {
    // The types are asked for one by one: a refusal of several names them all, and it matters which one is wrong.
    for name in types {
        let found = describe_types(ec2, std::slice::from_ref(name)).await;
        let found = found.map_err(|error| match trouble::class(&error) {
            Class::Unsupported | Class::NotFound => no_type(name, region),
            _ => trouble::fault(&format!("look at the instance type `{name}`"), error),
        })?;
        let Some(info) = found.first() else { return Err(no_type(name, region)) };
        let made_for = info.processor_info().map(|info| info.supported_architectures()).unwrap_or_default();
        if !made_for.is_empty() && !made_for.contains(&ArchitectureType::X8664) {
            let kinds: Vec<&str> = made_for.iter().map(ArchitectureType::as_str).collect();
            return Err(Fault::outside(format!(
                "the instance type `{name}` is `{}`, and our images are `x86_64`",
                kinds.join("`, `")
            ))
            .hint("Choose another `--instance-type`."));
        }
    }
    Ok(())
}

fn no_type(name: &str, region: &str) -> Fault {
    Fault::outside(format!("there is no instance type `{name}` in `{region}`")).hint(
        "Choose another `--instance-type` or `--aws-region`; `aws ec2 describe-instance-types` lists what there is.",
    )
}

async fn describe_types(
    ec2: &aws_sdk_ec2::Client,
    types: &[String],
) -> Result<Vec<InstanceTypeInfo>, SdkError<DescribeInstanceTypesError>> {
    let wanted = types.iter().map(|name| InstanceType::from(name.as_str())).collect();
    let found = ec2.describe_instance_types().set_instance_types(Some(wanted)).send().await?;
    Ok(found.instance_types.unwrap_or_default())
}

/// The types among `types` that have disks of their own.
pub(crate) async fn with_disk(ec2: &aws_sdk_ec2::Client, types: &[String]) -> Result<Vec<String>, Fault> {
    let found = describe_types(ec2, types).await;
    let found = found.map_err(|error| trouble::fault("look at the instance types that were named", error))?;
    let of = |info: &InstanceTypeInfo| {
        let name = info.instance_type()?.as_str().to_owned();
        (info.instance_storage_supported == Some(true)).then_some(name)
    };
    Ok(found.iter().filter_map(of).collect())
}

/// The last lines of the console of the instance `id`.
pub(crate) async fn console(ec2: &aws_sdk_ec2::Client, id: &str) -> Option<String> {
    let ask = |latest: bool| ec2.get_console_output().instance_id(id).latest(latest).send();
    // Only newer types give the console of this moment; for others, `latest` is an error.
    let output = match ask(true).await {
        Ok(found) => found.output,
        Err(_) => ask(false).await.ok()?.output,
    };
    let console = STANDARD.decode(output?.replace(['\n', '\r'], "")).ok()?;
    let last = text::last_lines(&String::from_utf8_lossy(&console), CONSOLE_LINES);
    (!last.is_empty()).then_some(last)
}

/// The result of terminating instances.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// EC2 says that all have ended.
    Seen,
    /// EC2 does not know them.
    Unknown,
    /// Some have not ended yet: they are named, each with its state.
    Waiting(String),
}

/// Terminates the instances and waits until EC2 says that they have ended.
pub(crate) async fn terminate(ec2: &aws_sdk_ec2::Client, ids: &[String]) -> Result<Termination, Fault> {
    let doing = format!("terminate `{}`", ids.join("`, `"));
    match ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send().await {
        Ok(_) => {}
        Err(error) if trouble::class(&error) == Class::NotFound && ids.len() == 1 => return Ok(Termination::Unknown),
        Err(error) => return Err(trouble::fault(&doing, error)),
    }
    let deadline = Deadline::after(END_LIMIT, format!("{} to end", ids.join(", ")));
    let mut pace = Pace::new(END_PAUSES);
    loop {
        // No instance ends at once.
        pace.pause().await;
        let living = find_living(ec2, ids).await?;
        if living.is_empty() {
            return Ok(Termination::Seen);
        }
        if deadline.remaining() < pace.next() {
            return Ok(Termination::Waiting(living.join(", ")));
        }
    }
}

/// The instances among `ids` that have not ended, as `i-… is shutting-down`.
async fn find_living(ec2: &aws_sdk_ec2::Client, ids: &[String]) -> Result<Vec<String>, Fault> {
    // This asks by filter, because asking by an id that EC2 has forgotten is an error.
    let filter = filters::match_any("instance-id", ids);
    let show = |instance: &Instance| format!("{} is {}", instance.instance_id().unwrap_or_default(), state(instance));
    Ok(find(ec2, filter).await?.iter().map(show).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_of_use_while_it_comes_up() {
        assert!(!is_ending(&InstanceStateName::Pending) && !is_ending(&InstanceStateName::Running));
        for over in [InstanceStateName::ShuttingDown, InstanceStateName::Terminated, InstanceStateName::Stopped] {
            assert!(is_ending(&over), "{over}");
        }
    }
}
