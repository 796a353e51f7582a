//! Paths of a pipeline file: relative ones begin at its directory.

use std::path::{Component, Path, PathBuf};

/// A path, absolute and without `.`.
pub fn resolve(base: &Path, text: &str) -> PathBuf {
    tidy(&base.join(text))
}

/// A pattern of paths, absolute. The directory itself is taken literally, whatever characters it has.
pub fn resolve_pattern(base: &Path, text: &str) -> String {
    if Path::new(text).is_absolute() {
        return text.into();
    }
    let text = text.strip_prefix("./").unwrap_or(text);
    let base = glob::Pattern::escape(&base.to_string_lossy());
    format!("{}/{text}", base.trim_end_matches('/'))
}

fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            // A `..` behind a link to a directory means the link's target, so only the system can resolve it.
            other => tidy.push(other),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_begin_at_the_directory() {
        let base = Path::new("/etc/weir");
        assert_eq!(resolve(base, "./out.log"), Path::new("/etc/weir/out.log"));
        assert_eq!(resolve(base, "/var/out.log"), Path::new("/var/out.log"));
        assert_eq!(resolve(base, "../out.log"), Path::new("/etc/weir/../out.log"));
    }

    #[test]
    fn patterns_take_the_directory_literally() {
        assert_eq!(resolve_pattern(Path::new("/a[1]"), "*.log"), "/a[[]1[]]/*.log");
        assert_eq!(resolve_pattern(Path::new("/a[1]"), "/b/*.log"), "/b/*.log");
        assert_eq!(resolve_pattern(Path::new("/"), "./x"), "/x");
    }
}
