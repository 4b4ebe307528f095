//! What `ps` shows for the master, as uWSGI's `procname` options have it.

use empery_config::vassal::Titles;

/// Sets the master's title, when any is asked for.
pub(crate) fn set(titles: &Titles) {
    if let Some(title) = master(titles) {
        empery_sys::process::set_title(&title);
    }
}

fn master(titles: &Titles) -> Option<String> {
    let name = match (&titles.master, &titles.all) {
        (Some(name), _) | (None, Some(name)) => name.as_str(),
        (None, None) if titles.auto => "uWSGI master",
        (None, None) => return None,
    };
    Some(format!("{}{name}{}", titles.prefix, titles.append))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b59_the_title_is_uwsgis_and_a_given_name_goes_before_the_automatic_one() {
        let auto = Titles { auto: true, prefix: "shop ".into(), ..Titles::default() };
        assert_eq!(master(&auto).as_deref(), Some("shop uWSGI master"));
        let named = Titles { master: Some("boss".into()), append: "!".into(), ..auto };
        assert_eq!(master(&named).as_deref(), Some("shop boss!"));
        assert_eq!(master(&Titles::default()), None);
    }
}
