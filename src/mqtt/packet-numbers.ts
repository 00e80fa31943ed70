import mqttPacket from 'mqtt-packet';

// It would keep a buffer for each number of two bytes, 65,536 objects that every full garbage
// collection visits: 8 MB, a quarter of all that a busy process holds on to.
mqttPacket.writeToStream.cacheNumbers = false;
