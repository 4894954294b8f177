std = "lua54"
max_line_length = 100

-- The globals of the neap program. lua/neap/ does without them.
stds.neap = {
    read_globals = {
        "neap", "tasklet", "channel", "deferred", "deferred_tasklet", "blocking_tasklet",
        "block_on", "spawn", "sleep", "schedule",
    },
}

-- Annotations: functions without bodies.
files["lua/neap/types"] = {
    unused = false, allow_defined_top = true, ignore = { "131" }, globals = { "neap" },
}
files["scripts"] = { std = "lua54+neap" }
files["spec"] = { std = "lua54+neap+busted" }
