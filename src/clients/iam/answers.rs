//! IAM's answers, which are XML of one form.

use std::collections::BTreeMap;

use crate::marks::Marks;

/// Returns code and message of an error answer.
pub(super) fn reason(answer: &str) -> (String, String) {
    let text = |name| between(answer, name).map(plain).unwrap_or_default();
    (text("Code"), text("Message"))
}

/// Returns the marks in the tags of a role or an instance profile.
pub(super) fn marks(answer: &str) -> Marks {
    // An instance profile also has those of its role.
    let (own, roles) = answer.split_once("<Roles>").unwrap_or((answer, ""));
    let own = match roles.split_once("</Roles>") {
        Some((_, rest)) => format!("{own}{rest}"),
        None => own.to_owned(),
    };
    let tags = between(&own, "Tags").unwrap_or_default();
    let pair = |member: &str| {
        Some((
            plain(between(member, "Key")?),
            between(member, "Value").map(plain)?,
        ))
    };
    let tags: BTreeMap<String, String> = tags.split("</member>").filter_map(pair).collect();
    Marks::from_tags(tags.iter().map(|(key, value)| (&**key, &**value)))
}

/// Returns the texts of all elements with a name.
pub(super) fn texts(answer: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = answer.split(&begin).skip(1);
    let texts = parts.filter_map(|part| part.split_once(&end));
    texts.map(|(text, _)| plain(text)).collect()
}

/// Returns where the next page of a list begins, if there is one.
pub(super) fn next_marker(answer: &str) -> Option<String> {
    let has_more = between(answer, "IsTruncated") == Some("true");
    between(answer, "Marker").filter(|_| has_more).map(plain)
}

/// Returns the text of the first element with a name.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// Replaces the entities in a text.
fn plain(text: &str) -> String {
    const ENTITIES: [(&str, &str); 5] = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        // Last, because it may begin what looks like another one.
        ("&amp;", "&"),
    ];
    let replace = |text: String, (entity, character): (&str, &str)| text.replace(entity, character);
    ENTITIES.into_iter().fold(text.to_owned(), replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_those_of_the_profile_itself() {
        let tags = |run: &str| {
            format!(
                "<Tags><member><Key>Name</Key><Value>a &amp; b</Value></member>\
                 <member><Key>autorun:run</Key><Value>{run}</Value></member></Tags>"
            )
        };
        let role = format!(
            "<GetRoleResult><Role>{}</Role></GetRoleResult>",
            tags("7kq2m9w")
        );
        assert_eq!(marks(&role).run.as_deref(), Some("7kq2m9w"));
        let profile = format!(
            "<InstanceProfile><Roles><member>{}</member></Roles>{}</InstanceProfile>",
            tags("other"),
            tags("own")
        );
        assert_eq!(marks(&profile).run.as_deref(), Some("own"));
        assert!(marks("<Role><RoleName>web</RoleName></Role>").untagged);
    }

    #[test]
    fn a_list_has_names_and_the_place_of_the_next_page() {
        let list = |rest: &str| {
            format!(
                "<ListRolesResult><Roles><member><RoleName>web-1</RoleName></member><member>\
                 <RoleName>a &amp; b</RoleName></member></Roles>{rest}</ListRolesResult>"
            )
        };
        assert_eq!(texts(&list(""), "RoleName"), ["web-1", "a & b"]);
        let more = list("<IsTruncated>true</IsTruncated><Marker>m</Marker>");
        assert_eq!(next_marker(&more).as_deref(), Some("m"));
        for last in ["", "<IsTruncated>false</IsTruncated>"] {
            assert_eq!(next_marker(&list(last)), None);
        }
    }

    #[test]
    fn an_error_has_a_code() {
        let answer = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
            <Message>The role with name a&lt;b cannot be found.</Message></Error></ErrorResponse>";
        let (code, message) = reason(answer);
        assert_eq!(code, "NoSuchEntity");
        assert_eq!(message, "The role with name a<b cannot be found.");
    }
}
