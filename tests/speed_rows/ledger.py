"""Rows of a shared ledger: the requests of the main job, with and without one."""

import contextlib

from speed_rows.s3 import BUCKET, Cloud
from speed_rows.table import ROOT, row

# The main job up to the boot of its instance, for which nothing waits.
PLAYBOOK = f"""
let unique = "speed-" + run_id();
let image = "{ROOT}/assets/logo.png";
let base = parallel([
    || {{
        let bucket = create_bucket("speed");
        #{{ bucket: bucket, picture: object_url(bucket, "logo.png", #{{ public: true }}) }}
    }},
    || create_key_pair(unique),
    || create_security_group(unique, #{{
        description: "Web for everyone, ssh for its owner",
        ingress: [#{{ port: 80 }}, #{{ port: 22, from: "192.0.2.1/32" }}],
    }}),
    || latest_amazon_linux(),
]);
launch_instance(#{{
    name: unique,
    image: base[3],
    key_pair: base[1],
    security_groups: [base[2]],
    wait: false,
}});
upload_image(base[0].bucket, image, #{{ key: "logo.png" }});
"""


@row("ledger-50ms", "requests of the main job, 50 ms round trip, with and without a shared ledger")
@contextlib.contextmanager
def shared_ledger(bench):
    file = bench.directory / "job.rhai"
    file.write_text(PLAYBOOK)
    with Cloud(bench, far=True) as cloud:
        keys = cloud.keys | {
            "AWS_ENDPOINT_URL": cloud.endpoint,
            "AWS_REGION": "eu-central-1",
        }
        ledgers = {
            "": {"AUTORUN_HOME": str(bench.directory / "alone")},
            ", shared ledger": {
                "AUTORUN_HOME": str(bench.directory / "shared"),
                "AUTORUN_LEDGER": f"s3://{BUCKET}/autorun?region=us-east-1",
            },
        }

        def side(program, ledger):
            def once():
                used = cloud.measured([program, "-q", "--again", file], keys | ledger)
                cloud.measured([program, "destroy", "--all", "--yes", "-q"], keys | ledger)
                return used

            return once

        yield {
            name + suffix: side(program, ledger)
            for name, program in bench.programs.items() for suffix, ledger in ledgers.items()
        }
