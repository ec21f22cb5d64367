//! `autorun docs` on a terminal: the pager and the colours.

use crate::support::Autorun;

/// A page of the manual on a terminal, with these variables of the environment.
fn shown(variables: &[(&str, &str)]) -> String {
    let mut autorun = Autorun::new().args(["docs", "runs"]);
    for (name, value) in variables {
        autorun = autorun.env(name, value);
    }
    let (status, shown) = autorun.at_terminal("");
    assert_eq!(status, Some(0), "{shown}");
    shown.replace("\r\n", "\n")
}

/// The beginning of the page in bold.
const BOLD: &str = "\u{1b}[1m# Runs\u{1b}[0m\n";

#[test]
fn a_page_goes_through_the_pager_with_colors() {
    let sed = ("PAGER", "sed 's/^/paged: /'");
    let page = shown(&[("TERM", "xterm"), sed]);
    assert!(
        page.starts_with(&format!("paged: {BOLD}paged: \n")),
        "{page}"
    );
    // `less` gets the options that make it end at once if the text fits.
    let options = ("PAGER", "echo \"options: $LESS\"; cat");
    let page = shown(&[("TERM", "xterm"), options]);
    assert!(page.starts_with(&format!("options: FRX\n{BOLD}")), "{page}");
    let page = shown(&[("TERM", "xterm"), options, ("LESS", "i")]);
    assert!(page.starts_with("options: i\n"), "{page}");
}

#[test]
fn no_pager_and_no_colors_on_request() {
    for pager in ["", "cat"] {
        let page = shown(&[("TERM", "xterm"), ("PAGER", pager)]);
        assert!(page.starts_with(BOLD), "{page}");
    }
    let page = shown(&[("TERM", "xterm"), ("PAGER", "cat"), ("NO_COLOR", "1")]);
    assert!(page.starts_with("# Runs\n"), "{page}");
    let page = shown(&[("TERM", "xterm"), ("PAGER", "cat"), ("NO_COLOR", "")]);
    assert!(page.starts_with(BOLD), "{page}");
    // A terminal without abilities.
    let page = shown(&[("TERM", "dumb"), ("PAGER", "false")]);
    assert!(page.starts_with("# Runs\n"), "{page}");
}

#[test]
fn output_that_is_not_a_terminal_is_plain() {
    let autorun = Autorun::new().env("TERM", "xterm").env("PAGER", "false");
    let page = autorun.args(["docs", "runs"]).run().exits(0).stdout;
    assert!(page.starts_with("# Runs\n"), "{page}");
    assert!(!page.contains('\u{1b}'), "{page}");
}
