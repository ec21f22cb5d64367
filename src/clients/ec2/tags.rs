//! Filters and tags in the SDK's types.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::marks::{Marks, Tags};

pub(super) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

pub(super) fn aws_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

pub(super) fn tag_specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(aws_tags(tags)))
        .build()
}

pub(super) fn marks(tags: &[Tag]) -> Marks {
    Marks::from_tags(
        tags.iter()
            .filter_map(|tag| Some((tag.key()?, tag.value()?))),
    )
}
