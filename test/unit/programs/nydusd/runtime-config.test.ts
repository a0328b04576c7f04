import { expect, it } from 'vitest';
import { RuntimeConfig } from '../../../../src/programs/nydusd/runtime-config.ts';

it('keeps values by the id of a configuration, or by none', () => {
  const config = new RuntimeConfig();
  config.set(null, { proxy_url: 'everywhere' });
  config.set('a', { registry_auth: 'old' });
  config.set('a', { registry_auth: 'new', dragonfly_scheduler_endpoint: 'http://s' });
  expect(config.get('a')).toEqual({ registry_auth: 'new', dragonfly_scheduler_endpoint: 'http://s' });
  expect(config.get('b')).toEqual({});
  expect(config.get(null)).toEqual({
    proxy_url: 'everywhere',
    'a:registry_auth': 'new',
    'a:dragonfly_scheduler_endpoint': 'http://s',
  });
});

it('sets nothing when a key is none that can be set', () => {
  const config = new RuntimeConfig();
  expect(() => config.set('a', { proxy_url: 'p', bogus: 'x' })).toThrow(
    expect.objectContaining({ code: 'CONFIG_REFUSED', message: expect.stringMatching(/^bogus: not a key/) }),
  );
  expect(config.get(null)).toEqual({});
});

it('does not grow without bound', () => {
  const config = new RuntimeConfig();
  for (let id = 0; id < 65_536; id++) config.set(`${id}`, { proxy_url: 'p' });
  expect(() => config.set('more', { proxy_url: 'p' })).toThrow('full');
  config.set('7', { proxy_url: 'q' });
  expect(config.get('7')).toEqual({ proxy_url: 'q' });
});
