-- The store of Retro Dash, version 1. Real columns for what is filtered, sorted or summed; JSON for the rest.
-- Times are UTC without a zone. `position` and `number` come from one counter that only grows: rows written together lie
-- together, so a condition on an episode's number skips nearly the whole table with no index to keep.

CREATE TABLE meta (
    name VARCHAR PRIMARY KEY,  -- schema_version, journal_offset
    value VARCHAR NOT NULL
);

-- What was appended, in the order in which the store took it. The bodies live in the tables below.
CREATE TABLE events (
    position BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    happened_at TIMESTAMP NOT NULL,
    episode_id VARCHAR,
    trial INTEGER,
    turn INTEGER,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE runs (
    id VARCHAR PRIMARY KEY,
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    config JSON NOT NULL,
    state VARCHAR NOT NULL,
    dataset_hash VARCHAR,
    parent_id VARCHAR,
    error VARCHAR,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP
);

-- The last eight columns follow from trials and reflections and are kept here so that a list never joins.
CREATE TABLE episodes (
    number BIGINT NOT NULL,
    id VARCHAR PRIMARY KEY,
    run_id VARCHAR NOT NULL,
    env VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    task_id VARCHAR NOT NULL,
    instruction VARCHAR NOT NULL,
    turn_limit INTEGER,
    task_metadata JSON NOT NULL,
    planner VARCHAR NOT NULL,
    reflector VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    trial_limit INTEGER NOT NULL,
    temperature DOUBLE NOT NULL,
    seed BIGINT NOT NULL,
    options JSON NOT NULL,
    parent_id VARCHAR,
    fork_trial INTEGER,
    fork_turn INTEGER,
    source VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL,
    success BOOLEAN NOT NULL,      -- one of its trials solved the task
    trial_count INTEGER NOT NULL,
    turn_count INTEGER NOT NULL,
    first_reward DOUBLE,           -- of the first and the last finished trial
    last_reward DOUBLE,
    best_gain DOUBLE,
    tally JSON NOT NULL            -- {"trials": [[index, turns, last turn, reward, success, stop reason]], "gains": [[after trial, gain]]}
);

CREATE TABLE trials (
    episode BIGINT NOT NULL,       -- episodes.number, here and below
    trial INTEGER NOT NULL,
    prompt VARCHAR NOT NULL,
    opening VARCHAR NOT NULL,
    reward DOUBLE NOT NULL,
    success BOOLEAN NOT NULL,
    stop_reason VARCHAR,
    error VARCHAR,
    view JSON,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);

CREATE TABLE turns (
    episode BIGINT NOT NULL,
    trial INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    thought VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    observation VARCHAR NOT NULL,
    reward DOUBLE NOT NULL,
    author VARCHAR NOT NULL,
    edited_from VARCHAR,
    is_valid BOOLEAN NOT NULL,
    is_malformed BOOLEAN NOT NULL,
    view JSON,
    seconds DOUBLE NOT NULL,
    policy VARCHAR,                -- from here on the completion; null when there is none
    completion VARCHAR,
    finish_reason VARCHAR,
    temperature DOUBLE,
    completion_seconds DOUBLE,
    -- The tokens are read by training and export alone, never by a page.
    context_ids INTEGER[],
    token_ids INTEGER[],
    logprobs FLOAT[]
);

-- Every version of every reflection; the newest after a trial counts.
CREATE TABLE reflections (
    position BIGINT NOT NULL,
    episode BIGINT NOT NULL,
    after_trial INTEGER NOT NULL,
    text VARCHAR NOT NULL,
    author VARCHAR NOT NULL,
    edited_from VARCHAR,
    prompt VARCHAR NOT NULL,
    gain DOUBLE,
    created_at TIMESTAMP NOT NULL,
    policy VARCHAR,
    completion VARCHAR,
    finish_reason VARCHAR,
    temperature DOUBLE,
    completion_seconds DOUBLE,
    context_ids INTEGER[],
    token_ids INTEGER[],
    logprobs FLOAT[]
);

-- Statements of people, never changed. An undo is a label too, and so is the undo of an undo: `root` is the statement
-- that is taken back or put back in the end, `effect` says which (-1 or +1).
CREATE TABLE labels (
    position BIGINT NOT NULL,
    id VARCHAR PRIMARY KEY,
    episode_id VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    trial INTEGER,
    turn INTEGER,
    name VARCHAR NOT NULL,
    value JSON NOT NULL,
    annotator VARCHAR NOT NULL,
    made_at TIMESTAMP NOT NULL,
    undoes VARCHAR,
    root VARCHAR NOT NULL,
    effect TINYINT NOT NULL
);

-- For every target, name and annotator the newest statement that is not taken back. Conditions on those columns reach
-- the table through the window, so asking for one page's episodes does not look at the other labels.
CREATE VIEW current_labels AS
WITH undone AS (
    SELECT root FROM labels WHERE undoes IS NOT NULL GROUP BY root HAVING arg_max(effect, position) = -1
)
SELECT labels.* FROM labels ANTI JOIN undone ON labels.id = undone.root
WHERE undoes IS NULL
QUALIFY row_number() OVER (
    PARTITION BY episode_id, part, trial, turn, labels.name, annotator ORDER BY position DESC
) = 1;

CREATE TABLE metrics (
    run_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE NOT NULL,
    logged_at TIMESTAMP NOT NULL
);

CREATE TABLE adapters (
    name VARCHAR PRIMARY KEY,
    role VARCHAR NOT NULL,
    base_model VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    is_full_weights BOOLEAN NOT NULL,
    run_id VARCHAR,
    dataset_hash VARCHAR,
    scores JSON NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE datasets (
    hash VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    filter VARCHAR NOT NULL,
    episode_ids VARCHAR[] NOT NULL,
    label_ids VARCHAR[] NOT NULL,
    counts JSON NOT NULL,
    created_at TIMESTAMP NOT NULL
);
