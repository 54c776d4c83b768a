//! The emulator itself: where it must be as AWS is, and that it leaves nothing.

use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{
    Filter, ImageState, InstanceMarketOptionsRequest, InstanceStateName, InstanceType, MarketType, ResourceType,
    SpotInstanceState, Tag, TagSpecification,
};

use super::DEBIAN;
use crate::emulated::{interface_only, sdk};

fn tags(kind: ResourceType, name: &str) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).tags(Tag::builder().key("Name").value(name).build()).build()
}

#[tokio::test]
async fn an_equal_token_gives_the_first_instance_also_after_a_lost_reply() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let client = aws_sdk_ec2::Client::new(&sdk(&aws).await);
    let run = || {
        client
            .run_instances()
            .image_id(DEBIAN)
            .instance_type(InstanceType::T3Micro)
            .min_count(1)
            .max_count(1)
            .client_token("hg-token-1")
            .tag_specifications(tags(ResourceType::Instance, "hg-one"))
            .tag_specifications(tags(ResourceType::NetworkInterface, "hg-one-eth0"))
            .send()
    };
    // The SDK tries again by itself.
    aws.control.cut("ec2:RunInstances", 1);
    let first = run().await.unwrap();
    let second = run().await.unwrap();
    assert_eq!(first.instances()[0].instance_id(), second.instances()[0].instance_id());
    assert!(first.instances()[0].public_ip_address().is_none());
    assert_eq!(aws.control.count("ec2:RunInstances"), 3);
    let all = client.describe_instances().send().await.unwrap();
    assert_eq!(all.reservations().len(), 1);
    let id = first.instances()[0].instance_id().unwrap();
    let filter = Filter::builder().name("tag:Name").values("hg-one-eth0").build();
    let nics = client.describe_network_interfaces().filters(filter.clone()).send().await.unwrap();
    assert_eq!(nics.network_interfaces().len(), 1);
    client.terminate_instances().instance_ids(id).send().await.unwrap();
    let nics = client.describe_network_interfaces().filters(filter).send().await.unwrap();
    assert_eq!(nics.network_interfaces().len(), 0);
}

#[tokio::test]
async fn what_is_unknown_or_not_allowed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let client = aws_sdk_ec2::Client::new(&sdk(&aws).await);
    let run = |image: &str| client.run_instances().image_id(image).min_count(1).max_count(1).send();
    assert_eq!(run("ami-0123456789").await.unwrap_err().code(), Some("InvalidAMIID.NotFound"));
    aws.control.deny("ec2:RunInstances");
    assert_eq!(run(DEBIAN).await.unwrap_err().code(), Some("UnauthorizedOperation"));
    aws.control.allow_only(&["ec2:DescribeImages"]);
    assert_eq!(client.describe_vpcs().send().await.unwrap_err().code(), Some("UnplannedCall"));
    assert_eq!(aws.control.violations(), ["ec2:DescribeVpcs"]);
    client.describe_images().send().await.unwrap();
    aws.control.set(|conditions| conditions.expired = true);
    assert_eq!(client.describe_images().send().await.unwrap_err().code(), Some("RequestExpired"));
}

#[tokio::test]
async fn instances_come_in_pages_and_are_unknown_and_pending_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let client = aws_sdk_ec2::Client::new(&sdk(&aws).await);
    let run = |count| client.run_instances().image_id(DEBIAN).min_count(count).max_count(count).client_token("eight");
    for at in 0..4 {
        run(1).client_token(format!("one-of-4-{at}")).send().await.unwrap();
    }
    run(8).send().await.unwrap();
    aws.control.clear_log();
    let pages = client.describe_instances().max_results(5).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let sizes: Vec<usize> = pages.iter().map(|page| page.reservations().len()).collect();
    assert_eq!(sizes, [5, 5, 2]);
    assert_eq!(aws.control.count("ec2:DescribeInstances"), 3);
    let filter = Filter::builder().name("client-token").values("one-of-4-3").build();
    let found = client.describe_instances().filters(filter).send().await.unwrap();
    assert_eq!(found.reservations().len(), 1);

    aws.control.set(|conditions| {
        conditions.unknown = 2;
        conditions.pending = std::time::Duration::from_secs(3600);
    });
    let reply = run(1).client_token("late").send().await.unwrap();
    let id = reply.instances()[0].instance_id().unwrap();
    let look = || client.describe_instances().instance_ids(id).send();
    for _ in 0..2 {
        assert_eq!(look().await.unwrap_err().code(), Some("InvalidInstanceID.NotFound"));
    }
    let seen = look().await.unwrap();
    assert_eq!(seen.reservations()[0].instances()[0].state().unwrap().name(), Some(&InstanceStateName::Pending));
    let both = client.describe_instances().instance_ids(id).max_results(5).send().await;
    assert_eq!(both.unwrap_err().code(), Some("InvalidParameterCombination"));
}

#[tokio::test]
async fn images_have_unique_names_and_their_snapshots_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let client = aws_sdk_ec2::Client::new(&sdk(&aws).await);
    let run = client.run_instances().image_id(DEBIAN).min_count(1).max_count(1).send().await.unwrap();
    let id = run.instances()[0].instance_id().unwrap();
    aws.control.set(|conditions| conditions.image_pending = std::time::Duration::from_secs(3600));
    let make = || {
        let image = client.create_image().instance_id(id).name("hg-image");
        let image = image.tag_specifications(tags(ResourceType::Image, "hg-image"));
        image.tag_specifications(tags(ResourceType::Snapshot, "hg-snapshot")).send()
    };
    let image = make().await.unwrap().image_id().unwrap().to_owned();
    assert_eq!(make().await.unwrap_err().code(), Some("InvalidAMIName.Duplicate"));
    let seen = client.describe_images().owners("self").send().await.unwrap();
    assert_eq!(seen.images().len(), 1);
    assert_eq!(seen.images()[0].state(), Some(&ImageState::Pending));
    aws.control.set(|conditions| conditions.image_pending = std::time::Duration::ZERO);
    let available = Filter::builder().name("state").values("available").build();
    let seen = client.describe_images().owners("self").filters(available).send().await.unwrap();
    assert_eq!(seen.images().len(), 1);
    let snapshots = || client.describe_snapshots().owner_ids("self").send();
    let seen = snapshots().await.unwrap();
    assert_eq!(seen.snapshots().len(), 1);
    assert_eq!(seen.snapshots()[0].tags()[0].value(), Some("hg-snapshot"));
    client.deregister_image().image_id(image).delete_associated_snapshots(true).send().await.unwrap();
    assert_eq!(snapshots().await.unwrap().snapshots().len(), 0);
}

#[tokio::test]
async fn keys_groups_spot_requests_and_prices_are_as_on_aws() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let config = sdk(&aws).await;
    let client = aws_sdk_ec2::Client::new(&config);
    let pair = connection::generate("tester").unwrap();
    let material = Blob::new(pair.public_openssh.clone());
    let made = client.import_key_pair().key_name("hg-test").public_key_material(material).send().await.unwrap();
    let wanted = connection::fingerprint(&pair.public_openssh).unwrap();
    let wanted = format!("{}=", wanted.trim_start_matches("SHA256:"));
    assert_eq!(made.key_fingerprint(), Some(&*wanted));
    let seen = client.describe_key_pairs().key_names("hg-test").send().await.unwrap();
    assert_eq!(seen.key_pairs()[0].key_fingerprint(), Some(&*wanted));
    assert_eq!(seen.key_pairs()[0].public_key(), None);

    let group = || client.create_security_group().group_name("hg-group").description("x").send();
    let id = group().await.unwrap().group_id().unwrap().to_owned();
    assert_eq!(group().await.unwrap_err().code(), Some("InvalidGroup.Duplicate"));
    let spot = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).build();
    let run = client.run_instances().image_id(DEBIAN).min_count(1).max_count(1).security_group_ids(&id);
    let run = run.instance_market_options(spot).tag_specifications(tags(ResourceType::SpotInstancesRequest, "hg-spot"));
    let instance = run.send().await.unwrap().instances()[0].clone();
    let delete = || client.delete_security_group().group_id(&id).send();
    assert_eq!(delete().await.unwrap_err().code(), Some("DependencyViolation"));
    let request = instance.spot_instance_request_id().unwrap();
    let spots = || client.describe_spot_instance_requests().spot_instance_request_ids(request).send();
    let seen = spots().await.unwrap();
    assert_eq!(seen.spot_instance_requests()[0].instance_id(), instance.instance_id());
    assert_eq!(seen.spot_instance_requests()[0].tags()[0].value(), Some("hg-spot"));
    client.terminate_instances().instance_ids(instance.instance_id().unwrap()).send().await.unwrap();
    assert_eq!(spots().await.unwrap().spot_instance_requests()[0].state(), Some(&SpotInstanceState::Closed));
    delete().await.unwrap();

    let prices = aws_sdk_pricing::Client::new(&config);
    let filter = |field: &str, value: &str| {
        let filter = aws_sdk_pricing::types::Filter::builder().field(field).value(value);
        filter.r#type(aws_sdk_pricing::types::FilterType::TermMatch).build().unwrap()
    };
    let asked = prices.get_products().service_code("AmazonEC2").filters(filter("instanceType", "c5.9xlarge"));
    let found = asked.filters(filter("regionCode", "us-west-2")).send().await.unwrap();
    assert_eq!(found.price_list().len(), 1);
    assert!(found.price_list()[0].contains("1.5300000000"), "{found:?}");
    let parameters = aws_sdk_ssm::Client::new(&config);
    let newest = parameters.get_parameter().name("/aws/service/debian/release/12/latest/amd64").send().await.unwrap();
    assert_eq!(newest.parameter().unwrap().value(), Some(DEBIAN));
}

#[tokio::test]
async fn two_emulators_of_one_moto_see_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (interface_only(&folder.path().join("1")), interface_only(&folder.path().join("2")));
    let (one, other) = (sdk(&one).await, sdk(&other).await);
    let iam = aws_sdk_iam::Client::new(&one);
    let profile = iam.create_instance_profile().instance_profile_name("hg-test").send().await.unwrap();
    let arn = profile.instance_profile().unwrap().arn().to_owned();
    assert_eq!(arn, "arn:aws:iam::123456789012:instance-profile/hg-test");
    let policy = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let trust = "{\"Version\":\"2012-10-17\"}";
    iam.create_role().role_name("hg-role").assume_role_policy_document(trust).send().await.unwrap();
    iam.attach_role_policy().role_name("hg-role").policy_arn(policy).send().await.unwrap();
    assert!(aws_sdk_iam::Client::new(&other).list_roles().send().await.unwrap().roles().is_empty());
    for config in [&one, &other] {
        let who = aws_sdk_sts::Client::new(config).get_caller_identity().send().await.unwrap();
        assert_eq!(who.account(), Some("123456789012"));
        let client = aws_sdk_ec2::Client::new(config);
        assert_eq!(client.describe_instances().send().await.unwrap().reservations().len(), 0);
        client.run_instances().image_id(DEBIAN).min_count(1).max_count(1).send().await.unwrap();
        let all = client.describe_instances().send().await.unwrap();
        assert_eq!(all.reservations()[0].owner_id(), Some("123456789012"));
        assert_eq!(all.reservations().len(), 1);
    }
}

#[tokio::test]
async fn orders_are_carried_out_in_their_number_and_for_what_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let client = aws_sdk_ec2::Client::new(&sdk(&aws).await);
    let run = |kind: InstanceType| {
        client.run_instances().image_id(DEBIAN).min_count(1).max_count(1).instance_type(kind).send()
    };
    let full = "We currently do not have sufficient capacity in the Availability Zone you requested.";
    aws.control.fail_where("ec2:RunInstances", ("InstanceType", "c5.large"), "InsufficientInstanceCapacity", full);
    assert_eq!(run(InstanceType::C5Large).await.unwrap_err().code(), Some("InsufficientInstanceCapacity"));
    run(InstanceType::T3Micro).await.unwrap();
    aws.control.clear_orders();
    run(InstanceType::C5Large).await.unwrap();

    aws.control.clear_log();
    aws.control.throttle("ec2:DescribeVpcs", 2);
    client.describe_vpcs().send().await.unwrap();
    let statuses: Vec<u16> = aws.control.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [503, 503, 200]);
    let begun = std::time::Instant::now();
    aws.control.delay("*", std::time::Duration::from_millis(200));
    client.describe_vpcs().send().await.unwrap();
    assert!(begun.elapsed().as_millis() >= 200);
}

#[test]
fn the_example_runs_a_command_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let line = "test \"$AWS_REGION\" = us-west-2 && test -n \"$AWS_ENDPOINT_URL\" && exit 7";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_aws-emulator"));
    command.arg("--folder").arg(folder.path()).args(["--no-machines", "--", "sh", "-c", line]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(7), "{said}");
    assert!(said.contains("answers at http://127.0.0.1:"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // The port of a URL, and a function that gives back what it gets.
    let line = "exec 3<>/dev/tcp/127.0.0.1/${AWS_ENDPOINT_URL##*:}
        printf 'POST /2015-03-31/functions/echo/invocations HTTP/1.1\\r\\n' >&3
        printf 'Authorization: AWS4 Credential=k/d/us-west-2/lambda/aws4_request, S=0\\r\\n' >&3
        printf 'Content-Length: 8\\r\\n\\r\\n[\"abc\"]\\n' >&3
        timeout 20 grep -q abc <&3 && exit 9";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_aws-emulator"));
    command.arg("--folder").arg(folder.path()).args([
        "--no-machines",
        "--function",
        "echo=cat",
        "--",
        "bash",
        "-c",
        line,
    ]);
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(9), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn a_function_is_a_program_with_the_limits_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let aws = interface_only(folder.path());
    let function = |script: &str| ["sh", "-c", script].map(std::ffi::OsString::from).to_vec();
    aws.control.set(|now| {
        now.functions.insert("count".to_owned(), function("wc -c"));
        now.functions.insert("fail".to_owned(), function("cat >/dev/null; echo one >&2; echo two >&2; exit 3"));
    });
    let client = aws_sdk_lambda::Client::new(&sdk(&aws).await);
    let call = |name: &str, bytes: usize| {
        let payload = format!("\"{}\"", "x".repeat(bytes - 2));
        client.invoke().function_name(name).payload(aws_sdk_lambda::primitives::Blob::new(payload)).send()
    };
    let whole = call("count", 6_291_455).await.unwrap();
    assert_eq!(whole.payload().unwrap().as_ref(), b"6291455\n");
    assert_eq!((whole.function_error(), whole.executed_version()), (None, Some("$LATEST")));
    assert_eq!(call("count", 6_291_456).await.unwrap_err().code(), Some("RequestTooLargeException"));
    assert_eq!(call("other", 10).await.unwrap_err().code(), Some("ResourceNotFoundException"));
    let arn = aws_emulator::lambda::arn("us-west-2", "fail");
    let failed = call(&arn, 10).await.unwrap();
    assert_eq!(failed.function_error(), Some("Unhandled"));
    let report: serde_json::Value = serde_json::from_slice(failed.payload().unwrap().as_ref()).unwrap();
    assert_eq!(report, serde_json::json!({"errorType": "Runtime.ExitError", "errorMessage": "two"}));
    let asynchronous = aws_sdk_lambda::types::InvocationType::Event;
    let asynchronous = client.invoke().function_name("count").invocation_type(asynchronous).send().await;
    assert_eq!(asynchronous.unwrap_err().code(), Some("InvalidParameterValueException"));
    assert_eq!(aws.control.count("lambda:InvokeFunction"), 5);
}
