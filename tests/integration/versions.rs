//! Buckets with versioning: what `destroy` deletes, and what stays.

use crate::local_cloud::{last_line, python, succeeds};
use crate::support::cloud::LocalCloud;

#[test]
fn destroy_deletes_every_version_in_its_own_bucket() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(
        "let bucket = create_bucket(\"own\", #{ versioning: true });\n\
         for n in 0..2 { upload_file(bucket, \"assets/logo.png\", #{ key: \"logo.png\" }); }\n\
         upload_image(bucket, \"assets/logo.png\", #{ key: \"public.png\" });\n\
         delete_object(bucket, \"logo.png\");\n\
         print(bucket.name);",
    );
    let ended = autorun.run().exits(0);
    let count = format!(
        "import boto3\n\
         page = boto3.client('s3').list_object_versions(Bucket='{}')\n\
         print(len(page['Versions']), len(page['DeleteMarkers']))",
        last_line(&ended)
    );
    assert_eq!(python(&cloud, &count).trim(), "3 1");
    succeeds(&mut autorun.shell("autorun destroy --all --yes"));
    let left = "import boto3\nprint(boto3.client('s3').list_buckets()['Buckets'])";
    assert_eq!(python(&cloud, left).trim(), "[]");
}

/// A bucket of another program, with versions under the same and under other keys.
#[test]
fn destroy_keeps_the_versions_of_others() {
    let cloud = LocalCloud::start();
    let theirs = "import boto3
        s3 = boto3.client('s3')
        where = {'LocationConstraint': 'eu-central-1'}
        s3.create_bucket(Bucket='theirs', CreateBucketConfiguration=where)
        s3.put_bucket_versioning(Bucket='theirs', VersioningConfiguration={'Status': 'Enabled'})
        put = lambda key: s3.put_object(Bucket='theirs', Key=key, Body=b'theirs')
        [put(key) for key in ['hidden', 'replaced', 'kept', 'kept']]
        s3.delete_object(Bucket='theirs', Key='hidden')";
    let list = "import boto3
        page = boto3.client('s3').list_object_versions(Bucket='theirs')
        all = page['Versions'] + page['DeleteMarkers']
        [print(one['Key'], one['VersionId'], one['IsLatest'], 'ETag' in one) for one in all]";
    python(&cloud, theirs);
    let before = python(&cloud, list);
    assert_eq!(before.lines().count(), 5, "{before}");
    let autorun = cloud.autorun().playbook(
        "for n in 0..2 {\n\
             for key in [\"hidden\", \"replaced\", \"new\"] {\n\
                 upload_file(\"theirs\", \"assets/logo.png\", #{ key: key });\n\
             }\n\
         }",
    );
    autorun.run().exits(0);
    let during = python(&cloud, list);
    assert_eq!(during.lines().count(), 11, "{during}");
    succeeds(&mut autorun.shell("autorun destroy --all --yes"));
    // What the run replaced is not its own object: its versions stay, as in a bucket
    // without versioning.
    let after = python(&cloud, list);
    let replaced = |line: &&str| line.starts_with("replaced ");
    let rest = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !replaced(line));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(rest(&after), rest(&before));
    assert_eq!(after.lines().filter(replaced).count(), 3, "{after}");
}
