//! Reads a plugin's configuration, and names the setting that is wrong.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::ConfigError;

/// What can stand under `config` in a pipeline file: whatever derives `Deserialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a pipeline file: derive `weir_plugin::serde::Deserialize` for it",
    label = "this type does not implement `Deserialize`",
    note = "write `#[derive(weir_plugin::serde::Deserialize)]` and `#[serde(crate = \"weir_plugin::serde\")]` above it; `NoConfig` is for nothing to set"
)]
pub trait FromPipelineFile: Sized {
    /// Reads it of a tree. A method, and no trait above: else the compiler would speak of that one.
    #[doc(hidden)]
    fn from_tree(tree: Value) -> Result<Self, serde_path_to_error::Error<serde_json::Error>>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> FromPipelineFile for T {
    fn from_tree(tree: Value) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
        serde_path_to_error::deserialize(tree)
    }
}

/// The configuration of a plugin that has nothing to configure: any setting is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// A length of time in a configuration: a whole number and a unit, as in `500ms`, `30s`, `5m`, `1h`, `7d` or `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    ms: u64,
}

impl Duration {
    /// In milliseconds.
    pub fn as_ms(self) -> u64 {
        self.ms
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit_ms = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            "w" => Some(604_800_000),
            _ => None,
        };
        let ms = number.parse::<u64>().ok().zip(unit_ms).and_then(|(number, unit_ms)| number.checked_mul(unit_ms));
        let expected = "a whole number and a unit of ms, s, m, h, d or w, as in 30s";
        ms.map(|ms| Duration { ms }).ok_or_else(|| D::Error::custom(format_args!("expected {expected}, got {text:?}")))
    }
}

/// Reads a configuration.
///
/// It is read by way of a tree, because places in the JSON text would mean nothing to the operator, who wrote YAML.
pub(crate) fn read<C: FromPipelineFile>(text: &str) -> Result<C, ConfigError> {
    let tree: Value = serde_json::from_str(text)
        .map_err(|error| ConfigError::from(format_args!("expected the configuration as JSON: {error}")))?;
    C::from_tree(tree).map_err(|error| {
        let parts: Vec<_> = error.path().iter().filter_map(part).collect();
        ConfigError::at(parts.join("."), error.inner())
    })
}

fn part(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        fields: Vec<Field>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Field {
        name: String,
        #[serde(default)]
        width: u8,
    }

    fn refuse<C: DeserializeOwned + std::fmt::Debug>(text: &str) -> (String, String) {
        let error = read::<C>(text).expect_err("must be refused");
        (error.path().to_owned(), error.message().to_owned())
    }

    #[test]
    fn a_right_configuration_is_read() {
        let read: Fields = read(r#"{"fields": [{"name": "a", "width": 3}]}"#).unwrap();
        let fields: Vec<_> = read.fields.iter().map(|field| (field.name.as_str(), field.width)).collect();
        assert_eq!(fields, [("a", 3)]);
    }

    #[test]
    fn a_wrong_key_names_itself_and_the_known_ones() {
        let (path, message) = refuse::<Fields>(r#"{"fields": [{"name": "a"}, {"nane": "b"}]}"#);
        assert_eq!(path, "fields.1.nane");
        assert_eq!(message, "unknown field `nane`, expected `name` or `width`");
    }

    #[test]
    fn a_wrong_value_is_found_by_its_path() {
        let (path, message) = refuse::<Fields>(r#"{"fields": [{"name": "a", "width": 300}]}"#);
        assert_eq!((path.as_str(), message.as_str()), ("fields.0.width", "invalid value: integer `300`, expected u8"));
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_eq!(refuse::<Fields>("{}"), (String::new(), "missing field `fields`".to_owned()));
    }

    #[test]
    fn whoever_has_no_settings_refuses_any() {
        assert!(read::<NoConfig>("{}").is_ok());
        let (path, message) = refuse::<NoConfig>(r#"{"verbose": true}"#);
        assert_eq!((path.as_str(), message.as_str()), ("verbose", "unknown field `verbose`, there are no fields"));
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        let read = |text: &str| serde_json::from_value::<Duration>(text.into()).map(Duration::as_ms);
        for (text, ms) in [("0s", 0), ("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(read(text).unwrap(), ms);
        }
        assert_eq!(read("7d").unwrap(), 7 * 86_400_000);
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5y", "99999999999999999d"] {
            assert!(read(text).unwrap_err().to_string().contains("as in 30s"), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_as_a_whole() {
        let (path, message) = refuse::<NoConfig>("{");
        assert_eq!(path, "");
        assert!(message.starts_with("expected the configuration as JSON"), "{message}");
    }
}
