"""What must come out of the test guests `windows` and `asof`, computed by DuckDB over all records at once.

    python oracle.py DIRECTORY

reads `cases.ndjson` and `records.ndjson` there and prints a line for each output of each case:

    SEED INPUT PLACE ORDINAL VALUE

in the order of these numbers. INPUT and PLACE say which record brought the output about, ORDINAL which of its outputs it is. A
record with the key null was filtered out by a step before: it moves time and is not counted.

The rules, which are those of the SDK (`plugin-sdk/src/state/`) and of the merge (`host/src/pipeline/input.rs`, `time.rs`):

- The watermark at a record is the highest time that its input has given, its own included.
- A window or session closes at the first record, in the order of arrival, at which the watermark is no less than when it closes:
  a window, its end + grace; a session, its last record's time + gap + grace + 1. It closes before the record is looked at.
  What no record closes does not come out.
- A record is late where each of its windows is closed; or where its session, with what is open around it, would be.
- What one record closes comes by end, start and key. A record that closes something is not late.
- Two inputs are merged: of the next records of both, the one of the lower time goes first, of equal ones that of the first input.
  So a record goes where the highest time that its input has given by then belongs. The watermark is then the lower one of both
  inputs, or that of this one where the other has ended; there is none until both have given a record.
- A record of the first input is joined at the first record, itself included, at which the watermark is no less than its time +
  grace. It meets, of the rows of its key that came before, the one of the highest time that is not after its own; of rows of
  the same time, the one that came last. What one record brings about comes by time and place.
"""

import sys

import duckdb

READ = """
CREATE TABLE cases AS FROM read_json('{0}/cases.ndjson', format = 'newline_delimited', columns =
    {{seed: 'BIGINT', kind: 'VARCHAR', size: 'BIGINT', advance: 'BIGINT', gap: 'BIGINT', grace: 'BIGINT'}});
CREATE TABLE records AS FROM read_json('{0}/records.ndjson', format = 'newline_delimited', columns =
    {{seed: 'BIGINT', input: 'BIGINT', place: 'BIGINT', key: 'VARCHAR', time: 'BIGINT'}});

-- Each record with the highest time that its input has given.
CREATE TABLE timed AS
SELECT *, max(time) OVER (PARTITION BY seed, input ORDER BY place) AS highest FROM records JOIN cases USING (seed);

-- `first` and `second` are what outputs of one record are sorted by, before their key.
CREATE TABLE outputs (seed BIGINT, input BIGINT, place BIGINT, first BIGINT, second BIGINT, key VARCHAR, value VARCHAR);
"""

WINDOWS = """
CREATE TABLE counted AS
WITH each AS (
    SELECT *, unnest(generate_series(time - (time % advance + advance) % advance, time - size + 1, -advance)) AS start
    FROM timed WHERE kind = 'windows' AND key IS NOT NULL
)
SELECT * FROM each WHERE start + size + grace > highest;

INSERT INTO outputs
WITH windows AS (
    SELECT seed, key, start, start + any_value(size) AS stop, any_value(grace) AS grace, count(*) AS count
    FROM counted GROUP BY seed, key, start
)
SELECT windows.seed, 0, min(timed.place), stop, start, windows.key, concat_ws(' ', windows.key, start, stop, count)
FROM windows JOIN timed ON timed.seed = windows.seed AND highest >= stop + windows.grace
GROUP BY windows.seed, windows.key, start, stop, count;

INSERT INTO outputs
SELECT seed, input, place, NULL, NULL, key, 'late ' || key
FROM timed ANTI JOIN counted USING (seed, place) WHERE kind = 'windows' AND key IS NOT NULL;
"""

# Which records are late, and so what a session is made of, follows from what came before: all cases go on together, by a record
# each. The sessions are found anew each time, as islands between gaps among the records that are in no closed one.
SESSIONS = """
CREATE TABLE open (seed BIGINT, key VARCHAR, time BIGINT, gap BIGINT, closes BIGINT);
CREATE VIEW sessions AS
WITH marked AS (
    SELECT *, coalesce(time - lag(time) OVER key_by_time > gap, true) AS is_first
    FROM open WINDOW key_by_time AS (PARTITION BY seed, key ORDER BY time)
), numbered AS (
    SELECT *, sum(is_first::INT) OVER (PARTITION BY seed, key ORDER BY time) AS island FROM marked
)
SELECT seed, key, min(time) AS start, max(time) AS stop, count(*) AS count, max(closes) AS closes
FROM numbered GROUP BY seed, key, island;
"""

SESSIONS_AT = """
CREATE OR REPLACE TEMP TABLE now AS FROM timed WHERE kind = 'sessions' AND place = {0};
CREATE OR REPLACE TEMP TABLE closed AS
SELECT sessions.*, place FROM sessions JOIN now USING (seed) WHERE sessions.closes <= highest;

INSERT INTO outputs
SELECT seed, 0, place, stop, start, key, concat_ws(' ', key, start, stop, count) FROM closed;

DELETE FROM open USING closed WHERE open.seed = closed.seed AND open.key = closed.key AND time BETWEEN start AND stop;

CREATE OR REPLACE TEMP TABLE taken AS
SELECT *, time + gap + grace + 1 AS closes FROM now
WHERE key IS NOT NULL AND (time + gap + grace + 1 > highest OR EXISTS (
    FROM open WHERE open.seed = now.seed AND open.key = now.key AND abs(open.time - now.time) <= now.gap));

INSERT INTO outputs
SELECT seed, 0, place, NULL, NULL, key, 'late ' || key FROM now ANTI JOIN taken USING (seed) WHERE key IS NOT NULL;

INSERT INTO open SELECT seed, key, time, gap, closes FROM taken;
"""

JOIN = """
CREATE TABLE merged AS
WITH ordered AS (
    SELECT *, row_number() OVER (PARTITION BY seed ORDER BY highest, input, place) AS turn FROM timed WHERE kind = 'asof'
), spread AS (
    SELECT *,
        max(highest) FILTER (input = 0) OVER so_far AS highest_0, max(highest) FILTER (input = 1) OVER so_far AS highest_1,
        max(turn) FILTER (input = 0) OVER whole AS end_0, max(turn) FILTER (input = 1) OVER whole AS end_1
    FROM ordered
    WINDOW so_far AS (PARTITION BY seed ORDER BY turn), whole AS (PARTITION BY seed)
), lower_one AS (
    SELECT *, CASE
        WHEN turn > coalesce(if(input = 0, end_1, end_0), 0) THEN highest
        WHEN highest_0 IS NOT NULL AND highest_1 IS NOT NULL THEN least(highest_0, highest_1)
    END AS lower
    FROM spread
)
SELECT *, max(lower) OVER (PARTITION BY seed ORDER BY turn) AS watermark FROM lower_one;

CREATE TABLE due AS
SELECT l.seed, l.key, l.time, l.place, min(mover.turn) AS turn
FROM merged l JOIN merged mover ON mover.seed = l.seed AND mover.turn >= l.turn AND mover.watermark >= l.time + l.grace
WHERE l.input = 0 AND l.key IS NOT NULL
GROUP BY l.seed, l.key, l.time, l.place;

-- What the table holds when a record is joined.
CREATE TABLE versions AS
SELECT due.seed, due.place AS met_by, held.key, held.time, arg_max(held.place, held.turn) AS place
FROM due JOIN merged held ON held.seed = due.seed AND held.key = due.key AND held.input = 1 AND held.turn < due.turn
GROUP BY due.seed, due.place, held.key, held.time;

INSERT INTO outputs
SELECT due.seed, mover.input, mover.place, due.time, due.place, due.key,
    due.key || due.place || ' ' || coalesce(versions.key || versions.place, 'none')
FROM due
ASOF LEFT JOIN versions
    ON due.seed = versions.seed AND due.place = versions.met_by AND due.key = versions.key AND due.time >= versions.time
JOIN merged mover ON mover.seed = due.seed AND mover.turn = due.turn;
"""

RESULT = """
SELECT seed, input, place,
    row_number() OVER (PARTITION BY seed, input, place ORDER BY first, second, key) - 1 AS ordinal, value
FROM outputs ORDER BY seed, input, place, ordinal;
"""


def main(directory):
    db = duckdb.connect()
    db.execute(READ.format(directory))
    db.execute(WINDOWS)
    db.execute(SESSIONS)
    (longest,) = db.execute("SELECT coalesce(max(place), -1) FROM timed WHERE kind = 'sessions'").fetchone()
    for place in range(longest + 1):
        db.execute(SESSIONS_AT.format(place))
    db.execute(JOIN)
    for row in db.execute(RESULT).fetchall():
        print(*row)


main(sys.argv[1])
