//! Results of tests as JUnit XML, as build servers read it.

use super::pipeline_test::Verdict;

/// The document; `suite` is what was tested.
pub(super) fn xml(suite: &str, verdicts: &[Verdict]) -> String {
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    let seconds: f64 = verdicts.iter().map(|verdict| verdict.seconds).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    out.push_str(&format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">\n",
        escaped(suite),
        verdicts.len()
    ));
    for Verdict { pipeline, name, seconds, failure } in verdicts {
        let (class, name) = (escaped(pipeline), escaped(name));
        out.push_str(&format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\""));
        match failure {
            None => out.push_str("/>\n"),
            Some(why) => {
                let first = escaped(why.lines().next().unwrap_or_default());
                let all = escaped(why);
                out.push_str(&format!(">\n      <failure message=\"{first}\">{all}</failure>\n    </testcase>\n"));
            }
        }
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Text for an attribute or an element. XML has no form for most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_says_why_and_nothing_breaks_the_document() {
        let verdict = |name: &str, failure: Option<&str>| Verdict {
            pipeline: "p".into(),
            name: name.into(),
            seconds: 0.25,
            failure: failure.map(str::to_owned),
        };
        let text = xml("a.yaml", &[verdict("fine", None), verdict("a<b", Some("no \"x\"\n\u{1}&"))]);
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             \u{20} <testsuite name=\"a.yaml\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.500\">\n\
             \u{20}   <testcase classname=\"p\" name=\"fine\" time=\"0.250\"/>\n\
             \u{20}   <testcase classname=\"p\" name=\"a&lt;b\" time=\"0.250\">\n\
             \u{20}     <failure message=\"no &quot;x&quot;\">no &quot;x&quot;\n\u{fffd}&amp;</failure>\n\
             \u{20}   </testcase>\n  </testsuite>\n</testsuites>\n"
        );
    }
}
