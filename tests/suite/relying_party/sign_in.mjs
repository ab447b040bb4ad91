// One sign-in with openid-client. Reads a JSON line of settings, prints the address to open, reads the address
// that the browser came back to, and prints what it learned. Any failure ends the process with its reason.
import * as client from 'openid-client'
import { importKey, print, read } from './lines.mjs'

const settings = JSON.parse(await read())
const proof = settings.private_jwk
  ? client.PrivateKeyJwt(await importKey(settings.private_jwk))
  : settings.client_secret
    ? client.ClientSecretBasic(settings.client_secret)
    : client.None()
const metadata = { id_token_signed_response_alg: settings.id_token_alg }
const config = await client.discovery(new URL(settings.issuer), settings.client_id, metadata, proof)
// Check the ID token's signature although it came over TLS from the issuer.
client.enableNonRepudiationChecks(config)

const verifier = client.randomPKCECodeVerifier()
const expected = { pkceCodeVerifier: verifier, expectedState: client.randomState(), expectedNonce: client.randomNonce() }
const wishes = {
  redirect_uri: settings.redirect_uri,
  scope: settings.scope,
  state: expected.expectedState,
  nonce: expected.expectedNonce,
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
}
const build = settings.pushed ? client.buildAuthorizationUrlWithPAR : client.buildAuthorizationUrl
print({ open: (await build(config, wishes)).href })

const tokens = await client.authorizationCodeGrant(config, new URL(await read()), { ...expected, idTokenExpected: true })
const claims = tokens.claims()
const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
await client.fetchUserInfo(config, refreshed.access_token, claims.sub)
const endSession = client.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: settings.post_logout_redirect_uri,
  state: 'bye',
}).href
await client.tokenRevocation(config, refreshed.refresh_token)
let afterRevocation = 'alive'
try {
  await client.refreshTokenGrant(config, refreshed.refresh_token)
} catch (error) {
  afterRevocation = error.error
}
print({ claims, userinfo, rotated: refreshed.refresh_token !== tokens.refresh_token, afterRevocation, endSession })
process.exit(0)
