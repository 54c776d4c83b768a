//! The content of a new emulated account: base images of the distributions and their public parameters.

use serde_json::json;

/// Debian's account for images: `https://wiki.debian.org/Cloud/AmazonEC2Image`.
pub const DEBIAN: &str = "136693071363";

/// Canonical's account for images: `https://ubuntu.com/server/docs/find-cloud-images`.
pub const CANONICAL: &str = "099720109477";

/// Amazon's account for images of Windows, as the predecessor of the tool has it.
pub const AMAZON: &str = "801119661308";

/// A base image.
#[derive(Debug)]
pub struct SeedImage {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The account that owns it.
    pub owner: &'static str,
    /// The distribution in the image definition `linux-dev`; of Windows, of which no machine can be made here, in `windows-dev`.
    pub distro: &'static str,
    /// Its login user.
    pub user: &'static str,
    /// Its root device.
    pub root: &'static str,
    /// When it was made.
    pub created: &'static str,
    /// The public parameter that names it; empty if there is none.
    pub parameter: &'static str,
    /// The word for its system, which is `windows` or nothing.
    pub platform: Option<&'static str>,
}

/// The base images. There are two of Debian 12 and of Windows Server 2022, of which the newer one must be chosen.
pub const BASES: [SeedImage; 8] = [
    SeedImage {
        id: "ami-0deb12000000a0001",
        name: "debian-12-amd64-20260901-0900",
        owner: DEBIAN,
        distro: "debian12",
        user: "admin",
        root: "/dev/xvda",
        created: "2026-09-01T09:00:00.000Z",
        parameter: "",
        platform: None,
    },
    SeedImage {
        id: "ami-0deb12000000a0002",
        name: "debian-12-amd64-20261101-1234",
        owner: DEBIAN,
        distro: "debian12",
        user: "admin",
        root: "/dev/xvda",
        created: "2026-11-01T12:34:00.000Z",
        parameter: "/aws/service/debian/release/12/latest/amd64",
        platform: None,
    },
    SeedImage {
        id: "ami-0deb13000000a0001",
        name: "debian-13-amd64-20261102-1234",
        owner: DEBIAN,
        distro: "debian13",
        user: "admin",
        root: "/dev/xvda",
        created: "2026-11-02T12:34:00.000Z",
        parameter: "/aws/service/debian/release/13/latest/amd64",
        platform: None,
    },
    SeedImage {
        id: "ami-00b2204000000a001",
        name: "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261103",
        owner: CANONICAL,
        distro: "ubuntu22.04",
        user: "ubuntu",
        root: "/dev/sda1",
        created: "2026-11-03T10:00:00.000Z",
        parameter: "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
        platform: None,
    },
    SeedImage {
        id: "ami-00b2404000000a001",
        name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261104",
        owner: CANONICAL,
        distro: "ubuntu24.04",
        user: "ubuntu",
        root: "/dev/sda1",
        created: "2026-11-04T10:00:00.000Z",
        parameter: "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        platform: None,
    },
    SeedImage {
        id: "ami-00142022000000001",
        name: "Windows_Server-2022-English-Full-Base-2026.10.14",
        owner: AMAZON,
        distro: "server2022",
        user: "Administrator",
        root: "/dev/sda1",
        created: "2026-10-14T20:00:00.000Z",
        parameter: "",
        platform: Some("windows"),
    },
    SeedImage {
        id: "ami-00142022000000002",
        name: "Windows_Server-2022-English-Full-Base-2026.11.11",
        owner: AMAZON,
        distro: "server2022",
        user: "Administrator",
        root: "/dev/sda1",
        created: "2026-11-11T20:00:00.000Z",
        parameter: "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base",
        platform: Some("windows"),
    },
    SeedImage {
        id: "ami-00142025000000001",
        name: "Windows_Server-2025-English-Full-Base-2026.11.11",
        owner: AMAZON,
        distro: "server2025",
        user: "Administrator",
        root: "/dev/sda1",
        created: "2026-11-11T20:00:00.000Z",
        parameter: "/aws/service/ami-windows-latest/Windows_Server-2025-English-Full-Base",
        platform: Some("windows"),
    },
];

/// The base image with an id.
pub fn base(id: &str) -> Option<&'static SeedImage> {
    BASES.iter().find(|base| base.id == id)
}

/// The file of images that moto reads at its start.
pub fn amis() -> String {
    let images: Vec<_> = BASES
        .iter()
        .map(|base| {
            json!({
                "ami_id": base.id, "name": base.name, "description": base.name, "owner_id": base.owner, "public": true,
                "virtualization_type": "hvm", "architecture": "x86_64", "state": "available",
                "creation_date": base.created, "platform": base.platform, "image_type": "machine",
                "image_location": format!("amazon/{}", base.name), "hypervisor": "xen", "root_device_type": "ebs",
                "root_device_name": base.root, "sriov": "simple",
            })
        })
        .collect();
    serde_json::Value::Array(images).to_string()
}
