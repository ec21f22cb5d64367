//! Amazon Machine Images.

use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clients::ec2::Image;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::script::{self, Declared, Named, Outcome, ResultKind, Shape};

#[export_module]
pub mod api {
    /// Returns the newest Amazon Linux 2023 image (AMI).
    ///
    /// Only standard images that Amazon owns are considered. If several of them
    /// have the same creation date, the one whose name is last in alphabetical
    /// order is returned. The id of the image is logged.
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
            super::latest_amazon_linux(cx, script::options(&call, options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[Declared::of("latest_amazon_linux")
    .options::<LatestAmazonLinux>()
    .returns::<FoundImage>(Shape::One)];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LatestAmazonLinux {
    /// `x86_64` or `arm64`.
    #[serde(default = "x86_64")]
    architecture: String,
}

impl Default for LatestAmazonLinux {
    fn default() -> Self {
        Self {
            architecture: x86_64(),
        }
    }
}

/// The map of an image.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FoundImage {
    /// "image".
    kind: ResultKind,
    #[serde(flatten)]
    pub(super) image: Image,
}

impl Named for Image {
    const EXPECTED: &'static str =
        "an id like \"ami-0abc\", or the map that latest_amazon_linux returned";
}

fn x86_64() -> String {
    "x86_64".to_owned()
}

pub(super) async fn latest_amazon_linux(
    cx: &Context,
    options: LatestAmazonLinux,
) -> Result<FoundImage> {
    let architecture = options.architecture.as_str();
    if !["x86_64", "arm64"].contains(&architecture) {
        return Err(
            Error::invalid(format!("unknown architecture `{architecture}`"))
                .hint("use `x86_64` or `arm64`"),
        );
    }
    let image = cx
        .clients
        .ec2()
        .await?
        .newest_amazon_linux(architecture)
        .await?;
    cx.report
        .info(format!("image {} ({})", image.id, image.name));
    Ok(FoundImage {
        kind: ResultKind::Image,
        image,
    })
}
