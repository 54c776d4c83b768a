//! A decision engine of IAM's kind: whether a policy allows the calls that the emulator saw.
//!
//! A call is one request or several: an action on a resource, in a context of tags and other keys, as the service authorization
//! reference of AWS lists them. Each must be allowed by a statement. What is known of a resource is read from the replies that
//! told of it. What is absent: denials, principals, policies other than the one at hand.

use std::collections::{BTreeMap, BTreeSet};

use aws_emulator::call::{ACCOUNT, Call};
use aws_emulator::control::LoggedCall;
use aws_emulator::xml::Element;
use serde_json::Value;

type Tags = BTreeMap<String, String>;
type Context = BTreeMap<String, Vec<String>>;

/// An action on a resource.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub action: String,
    pub resource: String,
    pub context: Context,
}

/// Whether `text` fits `pattern`, in which `*` stands for anything.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn holds(operator: &str, wanted: &[&str], found: Option<&Vec<String>>) -> bool {
    let one = |found: &String| match operator.trim_start_matches("ForAllValues:") {
        "StringEquals" => wanted.contains(&found.as_str()),
        "StringLike" | "ArnEquals" | "ArnLike" => wanted.iter().any(|pattern| like(pattern, found)),
        other => panic!("an operator that is not known here: {other}"),
    };
    match (operator, found) {
        ("Null", found) => wanted.contains(&if found.is_none() { "true" } else { "false" }),
        (_, None) => operator.starts_with("ForAllValues:"),
        (_, Some(found)) if operator.starts_with("ForAllValues:") => found.iter().all(one),
        (_, Some(found)) => found.iter().any(one),
    }
}

/// Whether a statement of `policy` allows `request`.
pub(crate) fn allows(policy: &Value, request: &Request) -> bool {
    policy["Statement"].as_array().unwrap().iter().any(|statement| {
        let action = texts(&statement["Action"]).iter().any(|action| like(action, &request.action));
        let resource = texts(&statement["Resource"]).iter().any(|pattern| like(pattern, &request.resource));
        let conditions = statement.get("Condition").and_then(Value::as_object);
        let met = conditions.is_none_or(|conditions| {
            conditions.iter().all(|(operator, keys)| {
                let mut keys = keys.as_object().unwrap().iter();
                keys.all(|(key, wanted)| holds(operator, &texts(wanted), request.context.get(key)))
            })
        });
        assert_eq!(statement["Effect"], "Allow");
        action && resource && met
    })
}

/// The replies that list things, with the field of their ids and their type in ARNs.
const LISTS: [(&str, &str, &str); 10] = [
    ("DescribeInstances", "instanceId", "instance"),
    ("RunInstances", "instanceId", "instance"),
    ("DescribeVolumes", "volumeId", "volume"),
    ("DescribeNetworkInterfaces", "networkInterfaceId", "network-interface"),
    ("DescribeImages", "imageId", "image"),
    ("DescribeSnapshots", "snapshotId", "snapshot"),
    ("DescribeSecurityGroups", "groupId", "security-group"),
    ("DescribeSecurityGroupRules", "securityGroupRuleId", "security-group-rule"),
    ("DescribeKeyPairs", "keyName", "key-pair"),
    ("DescribeSpotInstanceRequests", "spotInstanceRequestId", "spot-instances-request"),
];

/// What is known of the account.
#[derive(Default)]
pub(crate) struct Known {
    /// By `instance/i-…`, `role/NAME`.
    tags: BTreeMap<String, Tags>,
    boundaries: BTreeMap<String, String>,
}

/// Calls `tell` for every element of a tree.
fn walk(element: &Element, tell: &mut impl FnMut(&Element)) {
    tell(element);
    for child in &element.children {
        walk(child, tell);
    }
}

fn tags_in(list: Option<&Element>, key: &str, value: &str) -> Tags {
    let items = list.map(|list| list.children.as_slice()).unwrap_or_default();
    items.iter().map(|item| (item.text_at(&[key]), item.text_at(&[value]))).collect()
}

/// The tags that a call of IAM gives.
fn iam_tags(call: &Call) -> Tags {
    let tag = |at: usize| {
        let key = call.params.get(&format!("Tags.member.{at}.Key"))?.clone();
        Some((key, call.param(&format!("Tags.member.{at}.Value")).to_owned()))
    };
    (1..).map_while(tag).collect()
}

impl Known {
    /// Takes in what a call and its reply tell.
    pub(crate) fn learn(&mut self, logged: &LoggedCall) {
        let (call, action) = (&logged.call, &*logged.call.action);
        if logged.status != 200 && logged.status != 0 {
            return;
        }
        let Some(reply) = Element::parse(&logged.reply) else { return };
        if let Some((_, field, kind)) = LISTS.iter().find(|(list, ..)| *list == action) {
            walk(&reply, &mut |element| {
                let (id, tagged) = (element.text_at(&[field]), element.child("tagSet"));
                if !id.is_empty() && (tagged.is_some() || element.name == "item") {
                    let tags = tags_in(tagged, "key", "value");
                    let known = self.tags.entry(format!("{kind}/{id}")).or_default();
                    known.extend(tags);
                }
            });
        }
        let mut made = |resource: String, tags: Tags| self.tags.entry(resource).or_default().extend(tags);
        let given = |kind: &str| call.tags(kind).into_iter().collect::<Tags>();
        match action {
            "CreateImage" => made(format!("image/{}", reply.text_at(&["imageId"])), given("image")),
            "CreateSecurityGroup" => {
                made(format!("security-group/{}", reply.text_at(&["groupId"])), given("security-group"));
            }
            "ImportKeyPair" => made(format!("key-pair/{}", call.param("KeyName")), given("key-pair")),
            "AuthorizeSecurityGroupIngress" => {
                for rule in reply.items("securityGroupRuleSet") {
                    let id = rule.text_at(&["securityGroupRuleId"]);
                    made(format!("security-group-rule/{id}"), given("security-group-rule"));
                }
            }
            "CreateRole" => {
                made(format!("role/{}", call.param("RoleName")), iam_tags(call));
                self.bound(call);
            }
            "PutRolePermissionsBoundary" => self.bound(call),
            "CreateInstanceProfile" => {
                made(format!("instance-profile/{}", call.param("InstanceProfileName")), iam_tags(call));
            }
            "GetRole" | "ListRoleTags" | "GetInstanceProfile" => self.learn_identity(call, &reply),
            _ => {}
        }
    }

    fn bound(&mut self, call: &Call) {
        let boundary = call.param("PermissionsBoundary");
        if !boundary.is_empty() {
            self.boundaries.insert(call.param("RoleName").to_owned(), boundary.to_owned());
        }
    }

    fn learn_identity(&mut self, call: &Call, reply: &Element) {
        let resource = match call.param("RoleName") {
            "" => format!("instance-profile/{}", call.param("InstanceProfileName")),
            name => format!("role/{name}"),
        };
        let mut boundary = String::new();
        let mut tags = Tags::new();
        walk(reply, &mut |element| {
            if element.name == "Tags" {
                tags.extend(tags_in(Some(element), "Key", "Value"));
            }
            if element.name == "PermissionsBoundaryArn" {
                boundary.clone_from(&element.text);
            }
        });
        self.tags.entry(resource).or_default().extend(tags);
        if !boundary.is_empty() {
            self.boundaries.insert(call.param("RoleName").to_owned(), boundary);
        }
    }

    /// What is asked of IAM when `call` is made.
    pub(crate) fn requests(&self, call: &Call) -> Vec<Request> {
        match &*call.service {
            "ec2" => self.of_ec2(call),
            "iam" => self.of_iam(call),
            "ssm" => self.of_ssm(call),
            "lambda" => {
                let arn = aws_emulator::lambda::arn(&call.region, call.param("FunctionName"));
                vec![self.request(&call.name(), &arn, &Tags::new())]
            }
            _ => vec![self.request(&call.name(), "*", &Tags::new())],
        }
    }

    /// A request on what is known, or is about to be made with the tags `given`.
    fn request(&self, action: &str, resource: &str, given: &Tags) -> Request {
        let mut context = Context::new();
        let short = resource.rsplit(':').next().unwrap_or_default();
        for (key, value) in self.tags.get(short).into_iter().flatten() {
            context.insert(format!("aws:ResourceTag/{key}"), vec![value.clone()]);
        }
        for (key, value) in given {
            context.insert(format!("aws:RequestTag/{key}"), vec![value.clone()]);
        }
        if !given.is_empty() {
            context.insert("aws:TagKeys".to_owned(), given.keys().cloned().collect());
        }
        Request { action: action.to_owned(), resource: resource.to_owned(), context }
    }

    fn of_ec2(&self, call: &Call) -> Vec<Request> {
        let name = call.name();
        let arn = |kind: &str, id: &str| format!("arn:aws:ec2:{}:{ACCOUNT}:{kind}/{id}", call.region);
        let on = |kind: &str, id: &str| self.request(&name, &arn(kind, id), &Tags::new());
        let each = |kind: &str, list: &str| call.list(list).iter().map(|id| on(kind, id)).collect::<Vec<_>>();
        // What is made, with its tags, and the right to tag it.
        let made = |kind: &str, id: &str| {
            let tags: Tags = call.tags(kind).into_iter().collect();
            let mut asked = vec![self.request(&name, &arn(kind, id), &tags)];
            if !tags.is_empty() {
                let mut tagging = self.request("ec2:CreateTags", &arn(kind, id), &tags);
                tagging.context.insert("ec2:CreateAction".to_owned(), vec![call.action.clone()]);
                asked.push(tagging);
            }
            asked
        };
        match &*call.action {
            "RunInstances" => {
                let mut asked = ["instance", "volume", "network-interface"].map(|kind| made(kind, "new")).concat();
                if call.param("InstanceMarketOptions.MarketType") == "spot" {
                    asked.extend(made("spot-instances-request", "new"));
                }
                asked.extend([on("image", call.param("ImageId")), on("subnet", "subnet-1")]);
                asked.extend(each("security-group", "SecurityGroupId"));
                if !call.param("KeyName").is_empty() {
                    asked.push(on("key-pair", call.param("KeyName")));
                }
                if call.params.contains_key("IamInstanceProfile.Name") {
                    asked.push(self.pass_role("hg-ephemeral-ec2-role-1"));
                }
                asked
            }
            "TerminateInstances" => each("instance", "InstanceId"),
            "GetConsoleOutput" => vec![on("instance", call.param("InstanceId"))],
            "CancelSpotInstanceRequests" => each("spot-instances-request", "SpotInstanceRequestId"),
            "DeleteVolume" => vec![on("volume", call.param("VolumeId"))],
            "DeleteNetworkInterface" => vec![on("network-interface", call.param("NetworkInterfaceId"))],
            "DeregisterImage" => vec![on("image", call.param("ImageId"))],
            "DeleteSnapshot" => vec![on("snapshot", call.param("SnapshotId"))],
            "DeleteKeyPair" => vec![on("key-pair", call.param("KeyName"))],
            "DeleteSecurityGroup" => vec![on("security-group", call.param("GroupId"))],
            "ImportKeyPair" => made("key-pair", call.param("KeyName")),
            "CreateSecurityGroup" => [made("security-group", "new"), vec![on("vpc", call.param("VpcId"))]].concat(),
            "CreateImage" => {
                let own = vec![on("instance", call.param("InstanceId"))];
                [own, made("image", "new"), made("snapshot", "new")].concat()
            }
            "AuthorizeSecurityGroupIngress" => {
                [vec![on("security-group", call.param("GroupId"))], made("security-group-rule", "new")].concat()
            }
            "RevokeSecurityGroupIngress" | "RevokeSecurityGroupEgress" => {
                let group = vec![on("security-group", call.param("GroupId"))];
                [group, each("security-group-rule", "SecurityGroupRuleId")].concat()
            }
            "CreateTags" => {
                let key = |at: usize| call.params.get(&format!("Tag.{at}.Key")).cloned();
                let tags: Tags =
                    (1..).map_while(|at| Some((key(at)?, call.param(&format!("Tag.{at}.Value")).to_owned()))).collect();
                let kind = |id: &str| if id.starts_with("sgr-") { "security-group-rule" } else { "instance" };
                call.list("ResourceId").iter().map(|id| self.request(&name, &arn(kind(id), id), &tags)).collect()
            }
            action => {
                assert!(action.starts_with("Describe"), "an action that is not known here: {action}");
                vec![self.request(&name, "*", &Tags::new())]
            }
        }
    }

    fn pass_role(&self, role: &str) -> Request {
        let mut asked = self.request("iam:PassRole", &format!("arn:aws:iam::{ACCOUNT}:role/{role}"), &Tags::new());
        asked.context.insert("iam:PassedToService".to_owned(), vec!["ec2.amazonaws.com".to_owned()]);
        asked
    }

    fn of_iam(&self, call: &Call) -> Vec<Request> {
        let (role, profile) = (call.param("RoleName"), call.param("InstanceProfileName"));
        let arn = match (role, profile) {
            ("", "") => "*".to_owned(),
            (role, "") => format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
            (_, profile) => format!("arn:aws:iam::{ACCOUNT}:instance-profile/{profile}"),
        };
        let mut asked = vec![self.request(&call.name(), &arn, &iam_tags(call))];
        let mut boundary = call.param("PermissionsBoundary").to_owned();
        if call.action == "PutRolePolicy" {
            boundary = self.boundaries.get(role).cloned().unwrap_or_default();
        }
        for (key, value) in [("iam:PermissionsBoundary", &*boundary), ("iam:PolicyARN", call.param("PolicyArn"))] {
            if !value.is_empty() {
                asked[0].context.insert(key.to_owned(), vec![value.to_owned()]);
            }
        }
        match &*call.action {
            "CreateRole" => asked.push(self.request("iam:TagRole", &arn, &iam_tags(call))),
            "CreateInstanceProfile" => asked.push(self.request("iam:TagInstanceProfile", &arn, &iam_tags(call))),
            "AddRoleToInstanceProfile" => asked.push(self.pass_role(role)),
            _ => {}
        }
        asked
    }

    fn of_ssm(&self, call: &Call) -> Vec<Request> {
        let none = Tags::new();
        match &*call.action {
            "SendCommand" => {
                let document = call.body["DocumentName"].as_str().unwrap();
                let document = format!("arn:aws:ssm:{}::document/{document}", call.region);
                let instances = call.body["InstanceIds"].as_array().unwrap().iter().map(|id| {
                    let arn = format!("arn:aws:ec2:{}:{ACCOUNT}:instance/{}", call.region, id.as_str().unwrap());
                    self.request(&call.name(), &arn, &none)
                });
                instances.chain([self.request(&call.name(), &document, &none)]).collect()
            }
            "GetParameter" => {
                let name = call.body["Name"].as_str().unwrap();
                vec![self.request(&call.name(), &format!("arn:aws:ssm:{}::parameter{name}", call.region), &none)]
            }
            _ => vec![self.request(&call.name(), "*", &none)],
        }
    }
}

/// The requests of `calls`, made after those of `history`, that `policy` does not allow, each once.
pub(crate) fn refused(policy: &Value, history: &[LoggedCall], calls: &[LoggedCall]) -> BTreeSet<String> {
    let mut known = Known::default();
    history.iter().for_each(|logged| known.learn(logged));
    let mut refused = BTreeSet::new();
    for logged in calls {
        // What is told of a thing before it goes is known when it goes.
        known.learn(logged);
        for request in known.requests(&logged.call) {
            if !allows(policy, &request) {
                refused.insert(format!("{} on {} with {:?}", request.action, request.resource, request.context));
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_operators_are_those_of_iam() {
        assert!(like("*", "") && like("a*c", "abc") && like("arn:*:role/x", "arn:1:2:role/x") && like("a", "a"));
        assert!(!like("a*c", "abd") && !like("a", "ab") && !like("role/hg-*", "role/web"));
        let found = vec!["x".to_owned()];
        assert!(holds("StringEquals", &["x"], Some(&found)) && !holds("StringEquals", &["x"], None));
        assert!(holds("Null", &["true"], None) && !holds("Null", &["true"], Some(&found)));
        assert!(holds("ForAllValues:StringEquals", &["x", "y"], Some(&found)));
        assert!(!holds("ForAllValues:StringEquals", &["y"], Some(&found)));
        assert!(holds("StringLike", &["hg-*"], Some(&vec!["hg-1".to_owned()])));
    }
}
