-- What a worker hands in. Whatever is refused here it sends again in halves, and one that is refused alone is a failed attempt.
create function tasker.require_settlements(now_ timestamptz, outcomes text[], delays double precision[], instants timestamptz[]) returns void
language plpgsql as $$
begin
  if exists (
    select from unnest(outcomes, delays, instants) o(outcome, delay, at)
    where o.outcome is null or o.outcome not in ('complete', 'skip', 'fail', 'wait') or o.outcome = 'wait' and (
      coalesce(o.at, now_ + make_interval(secs => o.delay)) between '0001-01-01 00:00+00' and '9999-12-31 23:59:59.999999+00') is not true) then
    raise exception using errcode = '22023', message = 'an outcome is complete, skip, fail or wait; a wait has an instant of the years 1 to 9999, or a delay until one';
  end if;
end $$;

comment on function tasker.require_settlements(timestamptz, text[], double precision[], timestamptz[]) is 'Refuses outcomes that are none.';
