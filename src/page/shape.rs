//! The dimensions of the timeline, for a screen and for a phone.

/// The dimensions of the timeline, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) width: f64,
    /// Left edge of the names.
    pub(super) name_x: f64,
    /// The most letters of a name.
    pub(super) letters: usize,
    pub(super) plot_x: f64,
    pub(super) plot_width: f64,
    /// Right edge of the durations.
    pub(super) took_x: f64,
    /// Indentation of each level of lanes.
    pub(super) indent: f64,
    pub(super) row: f64,
    pub(super) text_y: f64,
    pub(super) bar_y: f64,
    pub(super) bar: f64,
}

/// Names are beside the bars.
pub(super) const WIDE: Shape = Shape {
    width: 960.0,
    name_x: 20.0,
    letters: 41,
    plot_x: 324.0,
    plot_width: 540.0,
    took_x: 940.0,
    indent: 8.0,
    row: 26.0,
    text_y: 17.0,
    bar_y: 7.0,
    bar: 12.0,
};

/// Names are above the bars, for a phone.
pub(super) const NARROW: Shape = Shape {
    width: 336.0,
    name_x: 10.0,
    letters: 34,
    plot_x: 20.0,
    plot_width: 304.0,
    took_x: 326.0,
    indent: 4.0,
    row: 40.0,
    text_y: 15.0,
    bar_y: 21.0,
    bar: 11.0,
};
