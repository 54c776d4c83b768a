//! Launching one instance: one call, tried with other parameters where EC2 has no capacity.
//!
//! The call itself holds everything that a machine needs, including tags, so a launch that is interrupted leaves only
//! resources that can be found and that end by themselves.

use aws_sdk_ec2::config::Builder;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Instance,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceType, LocationType, MarketType, Placement, ResourceType, ShutdownBehavior,
    SpotInstanceType, SpotMarketOptions, Tag, VolumeType,
};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};
use model::base::deadline::{Deadline, Pace};
use model::base::id::MachineId;
use model::event::{MachineEvent, Teller, TroubleEvent};
use model::fault::Fault;

use crate::ec2::attempts::{Attempts, LaunchAttempt};
use crate::ec2::base_image::BaseImage;
use crate::ec2::filters;
use crate::ec2::shared::SharedResources;
use crate::ec2::trouble::{self, Class};
use crate::ec2::{propagation, tags};

/// The name of the second volume in the launch. The machine sees it under another name, which it finds out itself.
pub(crate) const WORK_DEVICE: &str = "/dev/sdf";

/// The parameters of a launch.
pub(crate) struct Launch<'a> {
    /// EC2 of the region.
    pub ec2: &'a aws_sdk_ec2::Client,
    /// The machine that the instance will be.
    pub machine: &'a MachineId,
    /// The image that it boots from.
    pub image: &'a BaseImage,
    /// The resources that the account's machines share.
    pub shared: &'a SharedResources,
    /// Types, the preferred one first.
    pub types: &'a [String],
    /// The types among them that have a disk of their own, which serves as the second volume.
    pub with_disk: &'a [String],
    /// Whether spare capacity is requested.
    pub spot: bool,
    /// The size of the root volume in GiB; the image's own size if that is larger.
    pub root_gib: i32,
    /// The size of a second volume in GiB.
    pub work_gib: Option<i32>,
    /// The user data in base64.
    pub user_data: &'a str,
    /// The tags of instance, volumes, interfaces and spot request.
    pub tags: &'a [Tag],
    /// The teller that fallbacks are reported to.
    pub teller: &'a Teller,
    /// Called with whether an instance may exist: `true` before each call, `false` after a refusal that leaves no
    /// doubt.
    pub doubt: &'a (dyn Fn(bool) + Send + Sync),
}

/// Keeps the SDK from repeating a call that would be refused again: EC2 reports a lack of capacity like a server error,
/// which the SDK would retry at length, although another zone may have capacity at once.
#[derive(Debug)]
struct DenyCapacityRetry;

impl ClassifyRetry for DenyCapacityRetry {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let answered = error.and_then(|error| error.as_operation_error());
        let code = answered.and_then(|error| error.downcast_ref::<RunInstancesError>()).and_then(|error| error.code());
        match code.map(trouble::classify) {
            Some(Class::Capacity | Class::Unsupported | Class::Quota) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no room"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Whether a refusal leaves no doubt that nothing was made. Where the SDK has retried, an earlier answer that was lost
/// may have been a success.
fn leaves_no_doubt(class: Class) -> bool {
    !matches!(class, Class::NoAnswer | Class::Stranger | Class::Broken | Class::Throttled)
}

/// Whether the launch failed because something was made a moment ago and AWS does not know it everywhere yet.
fn is_propagating(error: &SdkError<RunInstancesError>) -> bool {
    let message = error.message().unwrap_or_default().to_lowercase();
    match error.code() {
        Some("InvalidParameterValue") => message.contains("iam instance profile"),
        Some("InvalidKeyPair.NotFound" | "InvalidGroup.NotFound" | "InvalidSecurityGroupID.NotFound") => true,
        _ => false,
    }
}

impl Launch<'_> {
    /// Launches the instance; returns it and the attempt that succeeded.
    pub(crate) async fn run(&self) -> Result<(Instance, LaunchAttempt), Fault> {
        let mut attempts = Attempts::new(self.types, self.spot);
        let mut offers: Option<Vec<(String, String)>> = None;
        let mut number = 0;
        let mut last = Fault::usage("no instance type was named");
        while let Some(attempt) = attempts.next() {
            number += 1;
            let error = match self.attempt(&attempt, number).await {
                Ok(instance) => return Ok((instance, attempt)),
                Err(error) => error,
            };
            let class = trouble::class(&error);
            if Attempts::wants_zones(&attempt, class) && offers.is_none() {
                offers = Some(self.offers().await.unwrap_or_else(|fault| {
                    // The final error must be the lack of capacity, not this fault.
                    self.teller.tell(TroubleEvent::from(&fault));
                    Vec::new()
                }));
            }
            let zones = offers.iter().flatten().filter(|(name, _)| *name == attempt.instance_type);
            let zones: Vec<String> = zones.map(|(_, zone)| zone.clone()).collect();
            attempts.record_failure(&attempt, class, &zones);
            last = trouble::fault(&self.doing(&attempt), error);
            self.teller.machine(self.machine, MachineEvent::LaunchRefused { failure: (&last).into() });
        }
        Err(last)
    }

    fn doing(&self, attempt: &LaunchAttempt) -> String {
        let market = if attempt.spot { " of spare capacity" } else { "" };
        let zone = attempt.zone.as_deref().map(|zone| format!(" in `{zone}`")).unwrap_or_default();
        format!("launch `{}` as `{}`{market}{zone}", self.machine, attempt.instance_type)
    }

    /// The pairs of a type and a zone that offers it, in the order of zones.
    async fn offers(&self) -> Result<Vec<(String, String)>, Fault> {
        let filter = filters::match_any("instance-type", self.types);
        let call = self.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        let found = call.filters(filter).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let found = found.map_err(|error| trouble::fault("look for zones that offer the instance type", error))?;
        let pair = |offer: &aws_sdk_ec2::types::InstanceTypeOffering| {
            Some((offer.instance_type()?.as_str().to_owned(), offer.location()?.to_owned()))
        };
        let mut offers: Vec<(String, String)> = found.iter().filter_map(pair).collect();
        offers.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(offers)
    }

    /// Makes one attempt, and repeats it while AWS does not know everywhere what it needs.
    async fn attempt(&self, attempt: &LaunchAttempt, number: u32) -> Result<Instance, SdkError<RunInstancesError>> {
        let deadline = Deadline::after(propagation::LIMIT, "new parts of the account to be known everywhere");
        let mut pace = Pace::new(propagation::PAUSES);
        loop {
            (self.doubt)(true);
            // The doubt is set before the call, because the launch can be cancelled during the call or the pause.
            let call = self.call(attempt, number).customize();
            let sent = call.config_override(Builder::new().retry_classifier(DenyCapacityRetry)).send().await;
            let error = match sent {
                Ok(made) => match made.instances.and_then(|made| made.into_iter().next()) {
                    Some(instance) => return Ok(instance),
                    // This counts as a lost answer, because an instance may exist.
                    None => return Err(SdkError::timeout_error("the answer names no instance")),
                },
                Err(error) => error,
            };
            if leaves_no_doubt(trouble::class(&error)) {
                (self.doubt)(false);
            }
            if !is_propagating(&error) || deadline.remaining() < pace.next() {
                return Err(error);
            }
            pace.pause().await;
        }
    }

    /// The size of the second volume; `None` if the type has a disk of its own.
    fn work(&self, attempt: &LaunchAttempt) -> Option<i32> {
        self.work_gib.filter(|_| !self.with_disk.contains(&attempt.instance_type))
    }

    /// The total size of the volumes, in GiB.
    pub(crate) fn volumes_gib(&self, attempt: &LaunchAttempt) -> u64 {
        let root = self.root_gib.max(self.image.root_gib);
        (root + self.work(attempt).unwrap_or(0)).unsigned_abs().into()
    }

    fn volume(&self, device: &str, gib: i32) -> BlockDeviceMapping {
        let ebs = EbsBlockDevice::builder()
            .volume_type(VolumeType::Gp3)
            .volume_size(gib)
            .encrypted(true)
            .delete_on_termination(true)
            .build();
        BlockDeviceMapping::builder().device_name(device).ebs(ebs).build()
    }

    fn call(&self, attempt: &LaunchAttempt, number: u32) -> RunInstancesFluentBuilder {
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let mut call = self
            .ec2
            .run_instances()
            .image_id(&self.image.id)
            .instance_type(InstanceType::from(attempt.instance_type.as_str()))
            .min_count(1)
            .max_count(1)
            // EC2 refuses the same token with other parameters, so each attempt has its own.
            .client_token(format!("{}-{number}", self.machine))
            .set_key_name(self.shared.key_pair.clone())
            .security_group_ids(&self.shared.group)
            .user_data(self.user_data)
            .metadata_options(metadata)
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .block_device_mappings(self.volume(&self.image.root_device, self.root_gib.max(self.image.root_gib)));
        if let Some(gib) = self.work(attempt) {
            call = call.block_device_mappings(self.volume(WORK_DEVICE, gib));
        }
        let mut tagged = vec![ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
        if attempt.spot {
            tagged.push(ResourceType::SpotInstancesRequest);
            call = call.instance_market_options(spot());
        }
        for kind in tagged {
            call = call.tag_specifications(tags::specification(kind, self.tags));
        }
        if let Some(zone) = &attempt.zone {
            call = call.placement(Placement::builder().availability_zone(zone).build());
        }
        if let Some(profile) = &self.shared.profile {
            call = call.iam_instance_profile(IamInstanceProfileSpecification::builder().name(profile).build());
        }
        call
    }
}

/// The options for spare capacity for one machine, which ends when EC2 takes the capacity away.
fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(options).build()
}
