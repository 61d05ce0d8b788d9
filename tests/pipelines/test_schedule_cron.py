from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ConfigError
from pipelines.schedule.cron import DESCRIPTORS, FIELDS, parse_cron, times_after, zone_of
from pipelines.schedule.words import cron_words, every_words, interval_words, parse_interval, parse_moment, show_moment

UTC_ZONE = ZoneInfo("UTC")
YEAR = datetime(2025, 1, 1, tzinfo=UTC)
SHIFTS = st.sampled_from(
    [  # the evenings before clocks are set, in the zones below
        datetime(2026, month, day, 20, tzinfo=UTC)
        for month, day in ((3, 28), (10, 24), (3, 7), (10, 31), (4, 4), (10, 3))
    ]
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana")


def refused(text: str) -> str:
    """What is said against an expression; nothing when it is taken."""
    try:
        parse_cron(text)
    except ConfigError as error:
        return str(error)
    return ""


def field_texts(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    pair = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, most)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        pair,
        step.map(lambda size: f"*/{size}"),
        st.tuples(pair, step).map(lambda both: f"{both[0]}/{both[1]}"),
        st.tuples(number, step).map(lambda both: f"{both[0]}/{both[1]}"),
    )
    texts = st.lists(part, min_size=1, max_size=2).map(",".join)
    return texts if most in {59, 23} else st.one_of(st.just("*"), st.just("*"), texts)


def numbers_of(text: str, least: int, most: int) -> set[int]:
    """A field read in another way than the module's: every number is asked whether a part holds it."""

    def holds(part: str, number: int) -> bool:
        span, _, step = part.partition("/")
        low, _, high = (f"{least}-{most}" if span in "*?" else span).partition("-")
        top = int(high) if high else most if step else int(low)
        return int(low) <= number <= top and (number - int(low)) % int(step or 1) == 0

    return {number for number in range(least, most + 1) if any(holds(part, number) for part in text.split(","))}


def sets_of(texts: list[str]) -> list[set[int]]:
    return [numbers_of(text, field.least, field.most) for text, field in zip(texts, FIELDS[1:], strict=True)]


def shows(sets: list[set[int]], starred: bool, moment: datetime) -> bool:
    minute, hour, day, month, weekday = sets
    on_day, on_weekday = moment.day in day, (moment.weekday() + 1) % 7 in weekday
    fits = on_day and on_weekday if starred else on_day or on_weekday
    return moment.minute in minute and moment.hour in hour and moment.month in month and fits


@given(
    texts=st.tuples(*(field_texts(field.least, field.most) for field in FIELDS[1:])).map(list),
    begin=st.one_of(st.integers(0, 90_000_000).map(lambda seconds: YEAR + timedelta(seconds=seconds)), SHIFTS),
    zone=st.sampled_from(ZONES),
)
@settings(max_examples=100, deadline=None)
def test_the_next_times_are_those_a_walk_through_every_minute_finds(
    texts: list[str], begin: datetime, zone: str
) -> None:
    asked = " ".join(texts)
    if refused(asked):
        assert "never comes" in refused(asked)
        return
    cron, end = parse_cron(asked), begin + timedelta(days=2)
    sets, starred = sets_of(texts), any(part[0] == "*" for place in (2, 4) for part in texts[place].split(","))
    minute = begin.replace(second=0, microsecond=0)
    walked = []
    while minute <= end:
        if minute > begin and shows(sets, starred, minute.astimezone(ZoneInfo(zone))):
            walked.append(minute)
        minute += timedelta(minutes=1)
    found = times_after(cron, begin, ZoneInfo(zone))
    assert [moment.astimezone(UTC) for moment in islice(found, len(walked))] == walked
    assert next(found, end + timedelta(1)) > end


def test_an_hour_that_clocks_skip_does_not_come_and_one_they_repeat_comes_twice() -> None:
    berlin, cron = ZoneInfo("Europe/Berlin"), parse_cron("30 2 * * *")
    spring = islice(times_after(cron, datetime(2026, 3, 28, 12, tzinfo=UTC), berlin), 1)
    assert [moment.isoformat() for moment in spring] == ["2026-03-30T02:30:00+02:00"]
    autumn = islice(times_after(cron, datetime(2026, 10, 24, 12, tzinfo=UTC), berlin), 3)
    assert [moment.isoformat() for moment in autumn] == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_five_fields_get_the_second_that_the_controller_expects_first() -> None:
    assert parse_cron("0 2 * * 1").text == "0 0 2 * * 1"
    assert parse_cron("  0   0 2 * *   MON ").text == "0 0 2 * * MON"


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_name_stands_for_its_six_fields(name: str) -> None:
    assert parse_cron(name.upper()).text == DESCRIPTORS[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("* * *", "has 3 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("61 * * * *", "the minute '61' is wrong: 61 is not between 0 and 59"),
        ("0 24 * * *", "the hour '24' is wrong"),
        ("0 0 0 * *", "the day of month '0' is wrong"),
        ("0 0 * 13 *", "the month '13' is wrong"),
        ("0 0 * mai *", "the month 'mai' is wrong: 'mai' is no number and none of jan to dec"),
        ("0 0 * * 7", "the day of week '7' is wrong: 7 is not between 0 and 6, Sunday is 0 or sun"),
        ("60 0 0 * * *", "the second '60' is wrong"),
        ("0 0 L * *", "neither L nor W nor #"),
        ("0 0 1-2-3 * *", "'1-2-3' is no range"),
        ("0 0 fri-mon * *", "the day of month"),
        ("0 0 * * fri-mon", "ends before it begins"),
        ("*/0 * * * *", "the step in '*/0' must be 1 or more"),
        ("*/x * * * *", "'x' is no number"),
        ("-1 * * * *", "'' is no number"),
        ("٣ * * * *", "is no number"),
        ("*-5 * * * *", "'*' is no number"),
        (", * * * *", "'' is no number"),
        ("* * * * * *", "more often than once a minute"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        ("TZ=UTC 0 0 * * *", "CRON_SCHEDULE_TIMEZONE"),
        ("@every 6h", "--every"),
        ("@noon", "is no name"),
        ("9" * 500, "too long"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_field_that_is_wrong(text: str, said: str) -> None:
    assert said in refused(text)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_expression_or_refused_with_a_sentence(text: str) -> None:
    said = refused(text)
    assert said.endswith(".") if said else len(parse_cron(text).text.split(" ")) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 2 * * *", "every day at 02:00"),
        ("0 2,14 * * *", "every day at 02:00 and 14:00"),
        ("30 6 * * mon", "every Monday at 06:30"),
        ("30 6 * * 1-5", "Monday to Friday at 06:30"),
        ("0 0 1 * *", "on day 1 of every month at 00:00"),
        ("*/15 * * * *", "every 15 minutes"),
        ("* * * * *", "every minute"),
        ("@hourly", "every hour"),
        ("5 * * * *", "every hour at minute 5"),
        ("0 */3 * * *", "every 3 hours"),
        ("0 */3 * * sun", "every Sunday, every 3 hours"),
        ("0 0 1 * 1", "cron 0 0 0 1 * 1"),
        ("7,11,13 * * * *", "cron 0 7,11,13 * * * *"),
        ("30 0 2 * * *", "cron 30 0 2 * * *"),
        ("0 0 1 jan *", "cron 0 0 0 1 jan *"),
    ],
)
def test_a_schedule_is_told_in_words(text: str, words: str) -> None:
    assert cron_words(parse_cron(text)) == words


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [("6h", 21_600, "6 hours"), ("90m", 5400, "1 hour 30 minutes"), ("1d12H", 129_600, "1 day 12 hours")],
)
def test_an_interval_is_read_and_told(text: str, seconds: int, words: str) -> None:
    assert parse_interval(text) == seconds
    assert interval_words(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86_400, "every day"), (3600, "every hour"), (21_600, "every 6 hours"), (129_600, "every 1 day 12 hours")],
)
def test_one_of_a_unit_is_told_without_its_number(seconds: int, words: str) -> None:
    assert every_words(seconds) == words


@pytest.mark.parametrize("text", ["", "6", "h", "-6h", "30s", "400d", "6 h", "1.5h", "999999999999999h"])
def test_a_wrong_interval_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--every="):
        parse_interval(text)


def test_a_moment_without_an_offset_is_of_the_time_zone_of_the_controller() -> None:
    berlin = zone_of("Europe/Berlin")
    assert parse_moment("2026-12-24T18:00", "--start", berlin) == datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert parse_moment("2026-12-24T18:00Z", "--start", berlin) == datetime(2026, 12, 24, 18, tzinfo=UTC)
    assert show_moment(datetime(2026, 12, 24, 17, tzinfo=UTC), berlin) == "Thu 2026-12-24 18:00 CET"


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"])
def test_a_wrong_moment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--start="):
        parse_moment(text, "--start", UTC_ZONE)


@pytest.mark.parametrize("name", ["", "Europe/Bärlin", "../etc/passwd", "/etc/localtime", "\0", "x" * 300])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no time zone"):
        zone_of(name)
