//! Amazon Machine Images.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::own_images::{self, CreateImage};
use super::release;
use super::servers::ServerRef;
use crate::clients::ec2::{
    AMAZON_LINUX_2023, Image, Unpublished, Wanted, families, published as published_in,
};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ResourceKind;
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

/// The architectures of images.
const ARCHITECTURES: [&str; 2] = ["x86_64", "arm64"];

#[export_module(manifest)]
pub mod api {
    /// Returns the newest image (AMI) of an operating system.
    ///
    /// With `family`, only standard images that the publisher itself owns are
    /// considered: no minimal, Pro, daily, ECS or deprecated images, and no
    /// images that other accounts published under the same name. With `owner`
    /// and `name`, every image that matches is considered. The image that was
    /// created last is returned. Its id is logged.
    ///
    /// A release of Amazon Linux 2023 has one image for each kernel. The
    /// function returns the image with AWS's default kernel, which a public
    /// parameter of AWS Systems Manager names. If the parameter cannot be read
    /// (it needs `ssm:GetParameter`), the function warns and returns the image
    /// with the newest kernel.
    ///
    /// `launch_instance` uses the image's `user` for the login.
    ///
    /// Throws `not_found` if the region has no such image, `invalid_option` if
    /// an option is wrong, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let image = latest_image(#{ family: "ubuntu-24.04" });
    /// assert(image.user == "ubuntu");
    /// let same = latest_image(#{
    ///     owner: "099720109477",
    ///     name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",
    /// });
    /// assert(same.id == image.id);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn latest_image(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::latest_image(cx, script::options(&call, options)?).await
        })
    }

    /// Creates an image (AMI) of an instance, and waits until it is available.
    ///
    /// The image has a copy of the disk: what user data and commands installed
    /// is there at once in every instance that is launched from it. Such an
    /// instance has its own ssh host key and host name, and runs its own user
    /// data. It also has all files with secrets that the disk contains: remove
    /// them first.
    ///
    /// `server` is a map that `launch_instance` returned, or an instance id. EC2
    /// reboots a running instance, so that the copy is complete: call
    /// `wait_until_ready` before you use the instance again. To avoid the reboot,
    /// stop the instance first, or pass `no_reboot`.
    ///
    /// `name` has 3 to 128 characters: letters, digits and `()[] ./-'@_`. It must
    /// be unique in the account and region. `destroy` deregisters the image and
    /// deletes its snapshots, for which AWS charges by their size;
    /// `deregister_image` does so earlier.
    ///
    /// Throws:
    ///
    /// - `already_exists` if another image of the account has the name;
    /// - `not_found` if the instance does not exist;
    /// - `invalid_option` if the name is wrong or the instance is terminated;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the image is not available in time;
    /// - `internal` if EC2 cannot create it.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "builder" });
    /// let image = create_image(server, "web-" + run_id());
    /// let copy = launch_instance(#{ name: "web", image: image });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_image(
        call: NativeCallContext,
        server: Dynamic,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&server, &name.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            let server = ServerRef::from_value(cx, &server)?;
            own_images::create(cx, step, server, &name, options).await
        })
    }

    /// Deregisters an image, and deletes its snapshots.
    ///
    /// `image` is a map that `create_image` returned, or an image id. Instances
    /// that were launched from it are not affected. Deregistering an image that
    /// does not exist is not an error.
    ///
    /// Throws `denied` if autorun did not create it.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "builder" });
    /// let image = create_image(server, "web-" + run_id());
    /// deregister_image(image);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn deregister_image(call: NativeCallContext, image: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&image], async |cx, step| {
            let id = match script::argument::<NameOr<Image>>("image", &image)? {
                NameOr::Name(id) => id,
                NameOr::Map(image) => image.id,
            };
            if !id.starts_with("ami-") {
                let error = Error::invalid(format!("`{id}` is not an image id"));
                return Err(error.hint("pass the map that create_image returned, or an id"));
            }
            release(cx, step, ResourceKind::Image, &id).await
        })
    }

    /// Returns the newest Amazon Linux 2023 image (AMI).
    ///
    /// The same as `latest_image` with the family `amazon-linux-2023`.
    ///
    /// Throws `not_found` if the region has no such image, `invalid_option` if
    /// the architecture is unknown, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let image = latest_amazon_linux(#{ architecture: "arm64" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn latest_amazon_linux(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options: LatestAmazonLinux = script::options(&call, options)?;
            super::latest_amazon_linux(cx, &options.architecture).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("latest_image")
        .options::<LatestImage>()
        .returns::<FoundImage>(Shape::One),
    Declared::of("create_image")
        .options::<CreateImage>()
        .returns::<FoundImage>(Shape::One),
    Declared::of("latest_amazon_linux")
        .options::<LatestAmazonLinux>()
        .returns::<FoundImage>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatestImage {
    /// Operating system: `amazon-linux-2023`, `amazon-linux-2`, or `ubuntu-`,
    /// `debian-`, `rhel-`, `rocky-`, `almalinux-` or `sles-` and a version, such
    /// as `ubuntu-24.04`, `debian-13` or `rocky-9`.
    family: Option<String>,
    /// `x86_64` or `arm64`.
    #[serde(default = "x86_64")]
    architecture: String,
    /// Owner of the image, together with `name`: an account id, or `amazon`,
    /// `aws-marketplace` or `self`.
    owner: Option<String>,
    /// Name of the image, in which `*` and `?` are wildcards, together with
    /// `owner`.
    name: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatestAmazonLinux {
    /// `x86_64` or `arm64`.
    #[serde(default = "x86_64")]
    architecture: String,
}

/// The map of an image.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FoundImage {
    /// "image".
    pub(super) kind: ResultKind,
    #[serde(flatten)]
    pub(super) image: Image,
}

impl Named for Image {
    const EXPECTED: &'static str =
        "an id like \"ami-0abc\", or the map that latest_image or create_image returned";
}

pub(super) fn x86_64() -> String {
    "x86_64".to_owned()
}

async fn latest_image(cx: &Context, options: LatestImage) -> Result<FoundImage> {
    let architecture = options.architecture.as_str();
    check(architecture)?;
    match (options.family, options.owner, options.name) {
        (Some(family), None, None) => of_family(cx, &family, architecture).await,
        (None, Some(owner), Some(name)) => {
            let wanted = Wanted {
                owner: &owner,
                name: &name,
                architecture,
            };
            let what = format!("an image `{name}` of {owner}");
            newest(cx, wanted, &what).await
        }
        (None, None, Some(_)) => Err(Error::invalid("option `owner`: it is missing").hint(
            "pass the account id of the publisher, or \"self\": every account may publish an \
             image under this name",
        )),
        (None, Some(_), None) => Err(Error::invalid("option `name`: it is missing")
            .hint("pass a pattern of the image's name, such as \"web-*\"")),
        (None, None, None) => Err(
            Error::invalid("option `family`: it is missing").hint(format!(
                "pass a family, such as {}; or `owner` and `name`",
                families().collect::<Vec<_>>().join(", ")
            )),
        ),
        (Some(_), _, _) => Err(Error::invalid(
            "option `family`: `owner` and `name` cannot be combined with it",
        )
        .hint("pass either `family`, or `owner` and `name`")),
    }
}

/// Returns the newest image of a family.
async fn of_family(cx: &Context, family: &str, architecture: &str) -> Result<FoundImage> {
    if family == AMAZON_LINUX_2023 {
        return latest_amazon_linux(cx, architecture).await;
    }
    // Check the name before the first request.
    if published_in(family, architecture, "") == Err(Unpublished::Unknown) {
        return Err(
            Error::invalid(format!("option `family`: unknown family `{family}`")).hint(format!(
                "families are {}, also with other versions; for another image, pass `owner` and \
                 `name`",
                families().collect::<Vec<_>>().join(", ")
            )),
        );
    }
    let region = cx.clients.ec2().await?.region();
    let published = published_in(family, architecture, region).map_err(|_| {
        Error::new(
            ErrorKind::NotFound,
            format!("the owner of {family} images in {region} is not known"),
        )
        .hint("pass the account id of the publisher as `owner`, and a pattern as `name`")
    })?;
    let wanted = Wanted {
        owner: published.owner,
        name: &published.name,
        architecture,
    };
    let what = format!(
        "a {family} image (`{}` of {})",
        published.name, published.owner
    );
    newest(cx, wanted, &what).await
}

async fn newest(cx: &Context, wanted: Wanted<'_>, what: &str) -> Result<FoundImage> {
    let mut images = cx.clients.ec2().await?.images(wanted).await?;
    let newest = images
        .pop()
        .ok_or_else(|| missing(what, wanted.architecture))?;
    Ok(found(cx, newest))
}

/// Returns the image with AWS's default kernel in the newest release of Amazon
/// Linux 2023.
pub(super) async fn latest_amazon_linux(cx: &Context, architecture: &str) -> Result<FoundImage> {
    check(architecture)?;
    let ec2 = cx.clients.ec2().await?;
    let mut kernels = ec2.amazon_linux_release(architecture).await?;
    let newest = kernels
        .pop()
        .ok_or_else(|| missing("an Amazon Linux 2023 image", architecture))?;
    if kernels.is_empty() {
        return Ok(found(cx, newest));
    }
    let parameter =
        format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}");
    let image = match cx.clients.public_parameter(&parameter).await {
        Ok(id) if id == newest.id => newest,
        Ok(id) => match kernels.into_iter().find(|image| image.id == id) {
            Some(image) => image,
            // The parameter may still name an image of the release before.
            None => ec2.image(&id).await?,
        },
        Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            cx.report.warn(format!(
                "AWS's default kernel is not known, so the newest one is used: {error}"
            ));
            newest
        }
    };
    Ok(found(cx, image))
}

fn check(architecture: &str) -> Result<()> {
    if ARCHITECTURES.contains(&architecture) {
        return Ok(());
    }
    Err(
        Error::invalid(format!("unknown architecture `{architecture}`"))
            .hint("use `x86_64` or `arm64`"),
    )
}

fn missing(what: &str, architecture: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("this region does not have {what} for {architecture}"),
    )
    .hint("pass the id of another image as `image` to launch_instance")
}

fn found(cx: &Context, image: Image) -> FoundImage {
    cx.report
        .info(format!("image {} ({})", image.id, image.name));
    FoundImage {
        kind: ResultKind::Image,
        image,
    }
}
