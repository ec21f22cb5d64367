//! Machine images.

use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use serde::Deserialize;

use crate::clients::ec2::Image;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::script::{self, Outcome};

#[export_module]
pub mod api {
    /// Finds the newest standard Amazon Linux 2023 image of Amazon.
    ///
    /// The newest by creation date, then by name; its id goes to the log.
    /// Gives a map with `id`, `name`, `architecture`, `root_device` and
    /// `volume_size` in GiB.
    ///
    /// - `architecture` (string, "x86_64"): `x86_64` or `arm64`.
    ///
    /// Throws `not_found` where the region has none, `denied`.
    ///
    /// ```rhai
    /// let image = latest_amazon_linux(#{ architecture: "arm64" });
    /// ```
    #[rhai_fn(name = "latest_amazon_linux", return_raw)]
    pub fn latest_amazon_linux_with(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::latest_amazon_linux(cx, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn latest_amazon_linux(call: NativeCallContext) -> Outcome<Dynamic> {
        latest_amazon_linux_with(call, Map::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LatestAmazonLinux {
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

fn x86_64() -> String {
    "x86_64".to_owned()
}

pub(super) async fn latest_amazon_linux(cx: &Context, options: LatestAmazonLinux) -> Result<Image> {
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
    Ok(image)
}
