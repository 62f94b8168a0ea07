/**
 * What `api/status` says of the bridge. Pure; anything may be missing.
 */

/**
 * @param {any} status  the reply of `GET api/status`
 * @returns {{address: string|null, models: string[], servers: string[]}|null} where clients connect,
 *   without `/v1`; the models that can be asked; the model servers that are configured, none where
 *   they are looked for. Null where the bridge does not answer
 */
export function bridgeOf(status) {
  const entries = Array.isArray(status?.daemons) ? status.daemons : [];
  const bridge = entries.find((entry) => entry?.name === "bridge")?.status;
  if (!bridge) return null;
  const address = bridge.addresses?.find((each) => /^https?:\/\//.test(each)) ?? null;
  const models = String(bridge.details?.models ?? "").split(", ").filter(Boolean);
  const upstreams = (bridge.links ?? []).filter(({ name }) => name?.startsWith("upstream "));
  const configured = bridge.details?.upstreams === "configured";
  return { address, models, servers: configured ? upstreams.map(({ peer }) => peer) : [] };
}
