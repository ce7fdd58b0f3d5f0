"""python -m analysis compare: two tickets or transfers, paired by seed."""

from analysis.options import Key, StudyName, TableFormat, TrackingUri, load_study


def compare(
    a: Key,
    b: Key,
    study: StudyName = None,
    form: TableFormat = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Two tickets, or two transfers: their differences, paired by seed, with 95 % intervals."""
    results = load_study(study, tracking_uri)

    from analysis.query import find
    from analysis.query.compare import differences_between
    from analysis.tables import people

    named = [find.find(text, results.study, results.cells) for text in (a, b)]
    differences = differences_between(named, results.table)
    if form == "table":
        for letter, (key, cell) in zip("ab", named, strict=True):
            print(f"{letter}: {find.title(cell)}  ({key})")
        print("difference: a - b, in points; low, high: Student's 95 % interval over seeds")
    print(people.formatted(differences, form, ("a", "b", "difference", "low", "high")))
    return 0
