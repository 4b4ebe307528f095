//! Problems as workflow commands of GitHub Actions, which shows them beside the lines of a change
//! (docs.github.com, "Workflow commands for GitHub Actions").

use std::path::Path;

use empery_control::fleet::ProblemView;

use super::say;

/// One line for each problem of a file.
pub(super) fn show(file: &Path, problems: &[ProblemView]) {
    let here = std::env::current_dir().unwrap_or_default();
    for problem in problems {
        say!("{}", annotation(problem, file, &here));
    }
}

fn annotation(problem: &ProblemView, file: &Path, here: &Path) -> String {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let whole = beside.join(&problem.file);
    let shown = whole.strip_prefix(here).unwrap_or(&whole).display().to_string();
    let mut properties = vec![format!("file={}", property(&shown))];
    properties.extend((problem.line > 0).then(|| format!("line={}", problem.line)));
    properties.extend((problem.column > 0).then(|| format!("col={}", problem.column)));
    properties.push(format!("title={}", property(&problem.code)));
    let hint = problem.hint.iter().map(|hint| format!("\n{hint}")).collect::<String>();
    let level = if problem.severity == "error" { "error" } else { "warning" };
    format!("::{level} {}::{}", properties.join(","), message(&format!("{}{hint}", problem.message)))
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_names_the_file_in_the_repository_and_escapes_what_would_end_it() {
        let problem = ProblemView {
            severity: "error".into(),
            code: "bad-value".into(),
            file: "shop,1.ini".into(),
            line: 3,
            column: 7,
            source: None,
            message: "100% wrong".into(),
            hint: Some("write it".into()),
        };
        assert_eq!(
            annotation(&problem, Path::new("/repo/etc/shop,1.ini"), Path::new("/repo")),
            "::error file=etc/shop%2C1.ini,line=3,col=7,title=bad-value::100%25 wrong%0Awrite it"
        );
        let whole = ProblemView { severity: "warning".into(), line: 0, column: 0, hint: None, ..problem };
        assert_eq!(
            annotation(&whole, Path::new("/x/shop,1.ini"), Path::new("/repo")),
            "::warning file=/x/shop%2C1.ini,title=bad-value::100%25 wrong"
        );
    }
}
